// Zoom in: a picture shrunk to a few pixels, and several faces that shrink to nearly the same.
import { live, openLab, Status } from "./engine.mjs";
import { drawFactors, mixed, random } from "./lab.mjs";
import { button, figure, group, h, Picture, segmented, slider } from "./page.mjs";
import { bilinear, shrunk, toRGBA } from "./pictures.mjs";
import { codesOf, Portrait } from "./portrait.mjs";

const FACTORS = [2, 4, 8, 16, 32];
const ANSWERS = 4;
const REDRAWN = [4, 7]; // styles of the paper's super-resolution samples, blended by half

export async function start(root) {
  const lab = await openLab(root);
  const status = new Status(lab);
  const small = new Picture(lab.size, "The few pixels that are left", { smooth: false });
  const answers = Array.from({ length: ANSWERS }, (_, k) => new Picture(lab.size, `Answer ${k + 1}`));
  const draw = random(11);
  let factor = 8;
  let others = [];

  const follow = live(status, async () => {
    if (!portrait.picture.data) return;
    const clipped = portrait.picture.data.map((v) => Math.min(1, Math.max(-1, v)));
    const few = shrunk(clipped, lab.size, factor);
    const side = lab.size / factor;
    const rgba = toRGBA(few, side);
    small.showPixels(Uint8ClampedArray.from({ length: 4 * lab.size ** 2 }, (_, i) => {
      const pixel = Math.floor(i / 4);
      return rgba[4 * (Math.floor(Math.floor(pixel / lab.size) / factor) * side + Math.floor((pixel % lab.size) / factor)) + (i % 4)];
    }));
    small.describe(`${side} × ${side} pixels of the portrait`);
    const codes = await lab.run("super_resolution", bilinear(few, side, lab.size));
    const shares = new Float64Array(lab.generator.nStyles);
    shares.fill(alpha.value, ...REDRAWN);
    for (const [k, picture] of answers.entries()) {
      const answer = k ? mixed(codes, others[k - 1], shares) : codes;
      picture.show(await lab.run("synthesis", answer), answer);
    }
  });
  const redraw = live(status, async () => {
    others = [];
    for (let k = 1; k < ANSWERS; k++) others.push(await codesOf(lab, drawFactors(lab.world, draw)));
    await follow();
  });
  const alpha = slider({ label: "How different the answers may be", min: 0, max: 1, step: 0.05, value: 0.5, shown: (v) => `${Math.round(100 * v)} %`, oninput: () => follow() });
  const portrait = new Portrait(lab, status, { title: "The portrait", person: 10, onchange: () => (others.length ? follow() : redraw()) });
  const times = segmented({ label: "How many times smaller", names: FACTORS.map((f) => `× ${f}`), value: 2, onchange: (k) => ((factor = FACTORS[k]), follow()) });

  root.replaceChildren(
    status.element,
    h("div", { class: "lab-pair" }, portrait.element, h("section", { "aria-label": "Few pixels" }, figure(small, "What is left of it"), h("div", { class: "lab-row" }, h("span", { class: "lab-word" }, "Smaller"), times.element))),
    h("div", { class: "lab-four", role: "group", "aria-label": "Answers" }, ...answers.map((p, k) => figure(p, k ? `Another answer` : "The answer"))),
    group("Answers", alpha.element, h("div", { class: "lab-row" }, button("Other answers", () => redraw()), button("Save the first as PNG", () => answers[0].save("zoom")))),
  );
  await portrait.follow();
}
