// Mix: two portraits, a share of the second for each group of styles, or for each style.
import { live, openLab, Status } from "./engine.mjs";
import { mixed } from "./lab.mjs";
import { button, figure, folded, group, h, Picture, slider } from "./page.mjs";
import { Portrait } from "./portrait.mjs";

const GROUPS = ["Coarse styles: pose, head, hair", "Middle styles: features, expression", "Fine styles: colours, light, pattern"];
const percent = (v) => `${Math.round(100 * v)} %`;

export async function start(root) {
  const lab = await openLab(root);
  const status = new Status(lab);
  const { groups, nStyles } = lab.generator;
  const shares = new Float64Array(nStyles);
  const result = new Picture(lab.size, "The mixed portrait");
  const follow = live(status, async () => {
    if (!first.codes || !second.codes) return;
    const scaled = Array.from(shares, (s) => s * alpha.value);
    const codes = mixed(first.codes, second.codes, scaled);
    result.show(await lab.run("synthesis", codes), codes);
  });

  const first = new Portrait(lab, status, { title: "Portrait A", person: 3, onchange: () => follow() });
  const second = new Portrait(lab, status, { title: "Portrait B", person: 7, onchange: () => follow() });
  const single = Array.from({ length: nStyles }, (_, k) =>
    slider({ label: `Style ${k}`, min: 0, max: 1, step: 0.01, value: 0, shown: percent, oninput: (v) => set(k, k + 1, v) }),
  );
  const coarse = groups.map(([from, to], g) =>
    slider({ label: GROUPS[g], min: 0, max: 1, step: 0.01, value: 0, shown: percent, oninput: (v) => set(from, to, v) }),
  );
  const alpha = slider({ label: "Alpha: how much of this counts", min: 0, max: 1, step: 0.01, value: 1, shown: percent, oninput: () => follow() });

  const set = (from, to, value) => {
    for (let k = from; k < to; k++) shares[k] = value;
    showShares();
    return follow();
  };
  const showShares = () => {
    single.forEach((s, k) => (s.value = shares[k]));
    coarse.forEach((s, g) => {
      const [from, to] = groups[g];
      s.value = shares.slice(from, to).reduce((a, b) => a + b, 0) / (to - from);
    });
  };
  const preset = (text, values) =>
    button(text, () => {
      groups.forEach(([from, to], g) => shares.fill(values[g], from, to));
      showShares();
      follow();
    });

  root.classList.add("lab-mix");
  root.replaceChildren(
    status.element,
    h("div", { class: "lab-trio" }, first.element, h("section", { class: "lab-result", "aria-label": "Result" }, figure(result, "A with B’s share of each style"), h("div", { class: "lab-row" }, button("Save as PNG", () => result.save("mix")))), second.element),
    h(
      "div",
      { class: "lab-row lab-presets", role: "group", "aria-label": "Mixtures to start from" },
      preset("A’s face, B’s colours", [0, 0, 1]),
      preset("A’s face, B’s expression", [0, 1, 0]),
      preset("B’s pose, A’s colours", [1, 0, 0]),
      preset("Half and half", [0.5, 0.5, 0.5]),
    ),
    h(
      "div",
      { class: "lab-columns" },
      group("Share of B", ...coarse.map((s) => s.element), alpha.element),
      folded("Every style by itself", matchMedia("(min-width: 900px)").matches, h("div", { class: "lab-controls lab-double" }, ...single.map((s) => s.element))),
    ),
    lab.has("inversion") ? h("p", { class: "lab-fine" }, "A picture that you upload stays in this browser: it is cut, shrunk and encoded on your machine, and nothing is sent anywhere.") : "",
  );
  shares.fill(1, ...groups[2]);
  showShares();
  await Promise.all([first.follow(), second.follow()]);
}
