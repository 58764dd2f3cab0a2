// Edit: factors moved by hand, through the mapping network; how far, and what else moved.
import { live, openLab, Status } from "./engine.mjs";
import { movements, moved, readings } from "./lab.mjs";
import { button, choiceNames, factorControl, factorTitle, figure, folded, group, h, Picture, slider } from "./page.mjs";
import { codesOf, Portrait } from "./portrait.mjs";

const GROUPS = [
  ["Pose", true, ["yaw", "pitch", "roll"]],
  ["Expression", true, ["smile", "mouth_open", "eye_open", "brow_raise", "gaze_x"]],
  ["Light", true, ["light_azimuth", "light_elevation", "light_strength", "light_warmth"]],
  ["Hair", true, ["hair_style", "hair_colour", "hair_shade", "hair_volume", "hair_length"]],
  ["Face", false, ["age", "skin_tone", "beard", "head_width", "jaw_width", "cheek_fullness", "nose_width", "nose_length", "eye_size", "eye_slant", "mouth_width", "lip_fullness", "freckles"]],
  ["Worn", false, ["glasses", "glasses_colour", "hat", "hat_colour", "earring_left", "necklace", "collar"]],
  ["Behind and below", false, ["background_pattern", "background_palette", "background_scale", "cloth_pattern", "cloth_palette"]],
];
const BARS = 7;
// What cannot be seen without something else: the reader's guess about the colour of a hat that isn't there is no news.
const ONLY_WITH = { hat_colour: "hat", glasses_colour: "glasses", freckle_variant: "freckles", metal: "necklace" };

export async function start(root) {
  const lab = await openLab(root);
  const status = new Status(lab);
  const byName = Object.fromEntries(lab.world.factors.map((f) => [f.name, f]));
  const after = new Picture(lab.size, "The edited portrait");
  const bars = h("div", { class: "lab-bars" });
  let wanted = {}; // the sliders
  let from = null; // codes of the person's own factors
  let before = null; // the reader's word on the first picture

  const portrait = new Portrait(lab, status, {
    title: "Before",
    person: 9,
    names: [],
    onchange: async () => {
      from = await codesOf(lab, portrait.factors);
      wanted = { ...portrait.factors };
      before = null;
      fill();
      await follow();
    },
  });

  const follow = live(status, async () => {
    if (!from) return;
    const to = await codesOf(lab, wanted);
    const codes = moved(portrait.codes, from, to, strength.value);
    after.show(await lab.run("synthesis", codes), codes);
    if (measured.open) await measure();
  });
  const strength = slider({ label: "Strength", min: 0, max: 2, step: 0.01, value: 1, shown: (v) => `${Math.round(100 * v)} %`, oninput: () => follow(), hint: "0: as before, 1: as asked for, beyond: further along the same line" });
  const controls = h("div", { class: "lab-columns" });
  const back = () => {
    wanted = { ...portrait.factors };
    fill();
    follow();
  };
  portrait.buttons.append(button("Back to before", back), button("Save as PNG", () => after.save("edit")));
  const fill = () => {
    const opened = new Set(Array.from(controls.querySelectorAll("details[open] > summary"), (s) => s.textContent));
    const made = GROUPS.map(([title, open, names]) => {
      const inside = names.map((name) =>
        factorControl(byName[name], wanted[name], (value) => {
          wanted[name] = value;
          follow();
        }).element,
      );
      return open ? group(title, ...inside) : folded(title, opened.has(title), h("div", { class: "lab-controls" }, ...inside));
    });
    const half = (k) => h("div", {}, ...made.filter((_, i) => i % 2 === k));
    controls.replaceChildren(half(0), half(1));
  };

  const measure = async () => {
    before ??= readings(lab.factors, await lab.run("factors", portrait.picture.data));
    const now = readings(lab.factors, await lab.run("factors", after.data));
    const asked = new Set(Object.keys(wanted).filter((name) => wanted[name] !== portrait.factors[name]));
    bars.replaceChildren(
      ...movements(before, now).filter(({ name }) => !ONLY_WITH[name] || wanted[ONLY_WITH[name]] > 0).slice(0, BARS).map(({ name, amount, signed, choice }) => {
        const what = choice === undefined ? `${signed < 0 ? "−" : "+"}${Math.round(100 * amount)} %` : choiceNames(byName[name])[choice];
        return h(
          "div",
          { class: asked.has(name) ? "lab-bar lab-asked" : "lab-bar" },
          h("span", {}, factorTitle(name) + (asked.has(name) ? " (asked for)" : "")),
          h("meter", { min: 0, max: 1, value: amount, "aria-label": factorTitle(name) }),
          h("span", { class: "lab-number" }, what),
        );
      }),
    );
  };
  const measured = h("details", { class: "lab-folded" }, h("summary", {}, "What else moved"),
    h("p", { class: "lab-fine" }, "A network reads the factors off both pictures. Bars are shares of a factor’s range, or the probability that changed its choice. The reader errs too: a few per cent are noise."), bars);
  measured.addEventListener("toggle", () => follow());

  root.replaceChildren(
    status.element,
    h("div", { class: "lab-pair lab-stage" }, portrait.figure, figure(after, "After")),
    portrait.buttons,
    group("How far", strength.element),
    controls,
    lab.has("factors") ? measured : "",
    lab.has("inversion") ? h("p", { class: "lab-fine" }, "A picture that you upload stays in this browser; nothing is sent. Its own factors are unknown, so the sliders start from those of the last person and only their changes count.") : "",
  );
  wanted = { ...portrait.factors };
  fill();
  await portrait.follow();
}
