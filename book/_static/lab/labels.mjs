// Paint labels: a brush for each of the 19 classes on a real label map, and the face that has this map.
import { live, openLab, Status } from "./engine.mjs";
import { Pad } from "./pad.mjs";
import { button, figure, group, h, Picture, segmented } from "./page.mjs";
import { oneHot } from "./pictures.mjs";

const WORDS = {
  eye_g: "glasses", l_eye: "left eye", r_eye: "right eye", l_brow: "left brow", r_brow: "right brow", l_ear: "left ear",
  r_ear: "right ear", u_lip: "upper lip", l_lip: "lower lip", ear_r: "ear-ring", neck_l: "necklace", cloth: "clothes",
};

export async function start(root) {
  const lab = await openLab(root);
  const status = new Status(lab);
  const { names, colours } = lab.classes;
  const face = new Picture(lab.size, "The face for this label map");
  const follow = live(status, async (cells) => {
    const codes = await lab.run("segmentation", oneHot(cells, names.length));
    face.show(await lab.run("synthesis", codes), codes);
  });
  const maps = (await lab.tiles("labels")).slice(0, lab.frames.maps).map((rgba) => Uint8Array.from({ length: lab.size ** 2 }, (_, i) => rgba[4 * i]));
  let shown = 0;
  const pad = new Pad({ size: lab.size, cells: maps[0].slice(), colours, label: "Label map", width: 4, widest: 20, onchange: follow });
  pad.canvas.classList.add("lab-pixels");
  pad.value = names.indexOf("hair");
  const brushes = h("div", { class: "lab-swatches", role: "group", "aria-label": "Class to paint" });
  const choose = (k) => {
    pad.value = k;
    Array.from(brushes.children).forEach((b, i) => b.setAttribute("aria-pressed", String(i === k)));
  };
  brushes.replaceChildren(...names.map((name, k) => {
    const swatch = h("span", { class: "lab-swatch", style: `background: rgb(${colours[k].join(" ")})` });
    return h("button", { type: "button", onclick: () => choose(k) }, swatch, WORDS[name] ?? name);
  }));
  choose(pad.value);
  const start_ = segmented({ label: "Map to start from", names: maps.map((_, k) => String(k + 1)), value: 0, onchange: (k) => pad.replace(maps[(shown = k)].slice()) });

  root.replaceChildren(
    status.element,
    h("div", { class: "lab-pair lab-drawing" },
      h("section", { "aria-label": "Label map" }, figure(pad, "The label map"), h("div", { class: "lab-row" }, h("span", { class: "lab-word" }, "Start from map"), start_.element, button("Back to this map", () => pad.replace(maps[shown].slice())))),
      h("section", { class: "lab-result", "aria-label": "Face" }, figure(face, "The face"), h("div", { class: "lab-row" }, button("Save as PNG", () => face.save("painted"))))),
    group("Paint", brushes, pad.toolbar),
  );
  await follow(pad.cells);
}
