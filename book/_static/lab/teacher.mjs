// Teacher and student: what the renderer draws, what the generator draws for the same factors, and where they differ.
import { openLab, Status } from "./engine.mjs";
import { button, choice, factorTitle, figure, h, Picture, segmented, slider } from "./page.mjs";
import { difference } from "./pictures.mjs";

export async function start(root) {
  const lab = await openLab(root);
  const status = new Status(lab);
  const { sweeps } = lab.frames;
  const byName = Object.fromEntries(lab.world.factors.map((f) => [f.name, f]));
  const starts = sweeps.reduce((all, s) => [...all, all.at(-1) + s.values.length], [0]);
  const total = starts.at(-1);
  const people = Object.keys(lab.frames.files).filter((name) => name.startsWith("teacher-"));
  const pictures = ["Teacher: the renderer", "Student: the generator", "Difference, three times enlarged"].map((t) => new Picture(lab.size, t));
  const chart = h("div", { class: "lab-chart", role: "img" });
  const number = h("output", { class: "lab-number" });
  let [person, sweep, stop, tiles] = [0, 0, 0, []];
  let steps = null;

  const pair = (at) => [tiles[starts[sweep] + at], tiles[total + starts[sweep] + at]];
  const word = (at) => {
    const factor = byName[sweeps[sweep].name];
    const value = sweeps[sweep].values[at];
    if (factor.kind === "categorical") return factor.names[value];
    return factor.unit === "degrees" ? `${Math.round(value)}°` : value.toFixed(2);
  };

  const show = () => {
    const [teacher, student] = pair(stop);
    const { rgba, mean } = difference(teacher, student);
    pictures[0].showPixels(teacher);
    pictures[1].showPixels(student);
    pictures[2].showPixels(rgba);
    const title = `${factorTitle(sweeps[sweep].name)} ${word(stop)}`;
    pictures[0].describe(`The renderer’s picture: ${title}`);
    pictures[1].describe(`The generator’s picture: ${title}`);
    pictures[2].describe(`Their difference, on average ${mean.toFixed(1)} levels of 255`);
    number.textContent = `${mean.toFixed(1)} of 255 levels on average`;
    Array.from(chart.children).forEach((bar, k) => bar.classList.toggle("lab-here", k === stop));
  };

  const choose = () => {
    const { values } = sweeps[sweep];
    const errors = values.map((_, k) => difference(...pair(k)).mean);
    const top = Math.max(...errors);
    chart.setAttribute("aria-label", `Mean difference at each stop of the slider, from ${Math.min(...errors).toFixed(1)} to ${top.toFixed(1)} levels`);
    chart.replaceChildren(...errors.map((e, k) => h("div", { title: `${word(k)}: ${e.toFixed(1)} levels`, style: `height: ${(100 * e) / top}%`, onclick: () => (steps.value = stop = k, show()) })));
    stop = Math.floor(values.length / 2);
    steps = slider({ label: factorTitle(sweeps[sweep].name), min: 0, max: values.length - 1, step: 1, value: stop, shown: word, oninput: (v) => ((stop = v), show()) });
    place.replaceChildren(steps.element);
    show();
  };
  const place = h("div", {});
  const pick = choice({ label: "Factor to move", names: sweeps.map((s) => factorTitle(s.name)), value: 0, onchange: (k) => ((sweep = k), choose()) });
  const load = async (k) => {
    try {
      status.say("Loading pictures …");
      const loaded = await lab.tiles(people[k]);
      [person, tiles] = [k, loaded];
      status.clear();
      choose();
    } catch (error) {
      status.fail(error, load, k);
    }
  };
  const who = segmented({ label: "Person", names: people.map((_, k) => `Person ${k + 1}`), value: 0, onchange: load });

  root.replaceChildren(
    status.element,
    h("div", { class: "lab-three" }, ...pictures.map((p, k) => figure(p, ["Teacher: the renderer", "Student: the generator", "Difference × 3"][k]))),
    h("div", { class: "lab-row lab-spread" }, who.element, h("span", { class: "lab-error" }, "Difference ", number)),
    h("div", { class: "lab-group lab-plain" }, pick.element, place, h("div", { class: "lab-chart-box" }, chart, h("p", { class: "lab-fine" }, "The difference at each stop; the orange bar is the one shown."))),
    h("div", { class: "lab-row" }, button("Save the three as PNG", () => pictures.forEach((p, k) => p.save(["teacher", "student", "difference"][k])))),
  );
  await load(person);
}
