// Draw: lines on paper, and a face that follows them; or a photograph through the pencil filter.
import { live, openLab, Status } from "./engine.mjs";
import { drawFactors, random } from "./lab.mjs";
import { Pad } from "./pad.mjs";
import { button, figure, group, h, Picture } from "./page.mjs";
import { pencil } from "./pictures.mjs";
import { codesOf } from "./portrait.mjs";
import { uploadButton } from "./upload.mjs";

const SIDE = 256; // of the pad: finer than the encoder's 64 px, so that a line is a line
const GREYS = Array.from({ length: 256 }, (_, v) => [v, v, v]);

/** The pad's mean grey in each pixel of the encoder, in [0, 1]. */
function read(cells, size) {
  const k = SIDE / size;
  const out = new Float32Array(size * size);
  cells.forEach((value, i) => (out[Math.floor(Math.floor(i / SIDE) / k) * size + Math.floor((i % SIDE) / k)] += value / 255 / (k * k)));
  return out;
}

/** A small sketch on the pad. */
function enlargedTo(sketch, size) {
  const k = SIDE / size;
  return Uint8Array.from({ length: SIDE * SIDE }, (_, i) => Math.round(255 * sketch[Math.floor(Math.floor(i / SIDE) / k) * size + Math.floor((i % SIDE) / k)]));
}

export async function start(root) {
  const lab = await openLab(root);
  const status = new Status(lab);
  const face = new Picture(lab.size, "The face for this drawing");
  const draw = random(2024);
  const follow = live(status, async (cells) => {
    const codes = await lab.run("sketch", read(cells, lab.size));
    face.show(await lab.run("synthesis", codes), codes);
  });
  const pad = new Pad({
    size: SIDE,
    cells: new Uint8Array(SIDE * SIDE).fill(255),
    colours: GREYS,
    label: "Drawing pad",
    width: 5,
    widest: 40,
    tools: [{ name: "Pen", value: 40 }, { name: "Eraser", value: 255 }],
    onchange: follow,
  });
  const example = live(status, async () => {
    const person = { ...drawFactors(lab.world, draw), pitch: 0, roll: 0 };
    const drawn = await lab.run("synthesis", await codesOf(lab, person));
    pad.replace(enlargedTo(pencil(drawn.map((v) => Math.min(1, Math.max(-1, v))), lab.size), lab.size));
  });

  root.replaceChildren(
    status.element,
    h("div", { class: "lab-pair lab-drawing" },
      h("section", { "aria-label": "Drawing" }, figure(pad, "Your drawing"), h("div", { class: "lab-row" },
        button("Sketch of a portrait", () => example()),
        uploadButton(lab.size, status, (data) => pad.replace(enlargedTo(pencil(data, lab.size), lab.size)), "Sketch of a photograph"),
        button("Clear", () => pad.replace(new Uint8Array(SIDE * SIDE).fill(255))))),
      h("section", { class: "lab-result", "aria-label": "Face" }, figure(face, "The face"), h("div", { class: "lab-row" }, button("Save as PNG", () => face.save("drawn"))))),
    group("Pen", pad.toolbar),
    h("p", { class: "lab-fine" }, "A photograph is turned into a pencil sketch in this browser; neither leaves it."),
  );
  await example();
}
