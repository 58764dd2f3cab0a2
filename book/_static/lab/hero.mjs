// The landing page: a portrait, its code and an edit. Prepared frames first; the generator itself when the reader asks for it.
import { live, openLab, Status } from "./engine.mjs";
import { numbersOf, repeated } from "./lab.mjs";
import { button, factorControl, factorTitle, figure, h, Picture, segmented, slider } from "./page.mjs";

const PASS = 3600; // milliseconds of the one movement that nobody asked for
const MEGABYTES = 9; // runtime, mapping network and generator

export async function start(root) {
  const lab = await openLab(root);
  const { people, sweeps } = lab.frames.hero;
  const [tiles, codes] = await Promise.all([lab.tiles("hero"), numbers(lab.file("codes"))]);
  const byName = Object.fromEntries(lab.world.factors.map((f) => [f.name, f]));
  const starts = sweeps.reduce((all, s) => [...all, all.at(-1) + s.values.length], [0]);
  const status = new Status(lab);
  const portrait = new Picture(lab.size, "A portrait, drawn by the renderer");
  const edited = new Picture(lab.size, "What the generator draws from the code");
  const grid = h("canvas", { class: "lab-picture lab-pixels", role: "img" });
  const place = h("div", { class: "lab-controls" });
  let [person, moving, controls] = [0, null, []];

  // Of each person: the portrait, then one frame for each stop of each factor.
  const row = (sweep, stop) => person * (1 + starts.at(-1)) + 1 + starts[sweep] + stop;
  const middle = (sweep) => {
    const { name, values } = sweeps[sweep];
    const far = values.map((value) => Math.abs(value - people[person][name]));
    return far.indexOf(Math.min(...far)); // not equality: the factors are float32
  };
  const word = (sweep, stop) => {
    const [factor, value] = [byName[sweeps[sweep].name], sweeps[sweep].values[stop]];
    if (factor.kind === "categorical") return factor.names[value];
    return factor.unit === "degrees" ? `${Math.round(value)}°` : value.toFixed(2);
  };

  const show = (pixels, code, text) => {
    edited.showPixels(pixels);
    edited.describe(`What the generator draws: ${text}`);
    paint(grid, code);
  };
  const showFrame = (sweep, stop) => show(tiles[row(sweep, stop)], codes[row(sweep, stop)], `${factorTitle(sweeps[sweep].name)} ${word(sweep, stop)}`);

  /** Sliders over the prepared frames: these know one change at a time, so moving one puts the others back. */
  const fillFrames = () => {
    controls = sweeps.map((s, k) =>
      slider({
        label: factorTitle(s.name),
        min: 0,
        max: s.values.length - 1,
        step: 1,
        value: middle(k),
        shown: (stop) => word(k, stop),
        oninput: (stop) => {
          halt();
          controls.forEach((other, j) => j !== k && (other.value = middle(j)));
          showFrame(k, stop);
        },
      }),
    );
    place.replaceChildren(...controls.map((c) => c.element));
    portrait.showPixels(tiles[person * (1 + starts.at(-1))]);
    showFrame(0, middle(0));
  };

  // ---- the generator itself: all factors at once ----
  // With an encoder of this world among the models, the code would be read from the portrait here and moved from there.
  let wanted = null;
  const follow = live(status, async () => {
    const w = await lab.run("mapping", numbersOf(lab.world, wanted));
    const codes = repeated(w, lab.generator.nStyles);
    const data = await lab.run("synthesis", codes);
    edited.show(data, codes);
    edited.describe("What the generator draws from your factors");
    paint(grid, w);
  });
  const fillLive = () => {
    wanted = { ...people[person] };
    const set = (name) => (value) => ((wanted[name] = value), follow());
    place.replaceChildren(...sweeps.map(({ name }) => factorControl(byName[name], wanted[name], set(name)).element));
    portrait.showPixels(tiles[person * (1 + starts.at(-1))]);
    return follow();
  };
  const goLive = button(`Move several at once (loads ${MEGABYTES} MB)`, () => {
    halt();
    goLive.hidden = true;
    fillLive();
  });

  // ---- one pass by itself, unless the reader prefers stillness or takes over ----
  const halt = () => {
    cancelAnimationFrame(moving);
    moving = null;
  };
  const pass = () => {
    const [begun, stops] = [performance.now(), sweeps[0].values.length - 1];
    const step = (now) => {
      const t = Math.min(1, (now - begun) / PASS);
      const stop = Math.round(stops * (0.5 + 0.5 * Math.sin(2 * Math.PI * t)));
      if (controls[0].value !== stop) {
        controls[0].value = stop;
        showFrame(0, stop);
      }
      moving = t < 1 ? requestAnimationFrame(step) : null;
    };
    moving = requestAnimationFrame(step);
  };

  const choose = (k) => {
    halt();
    person = k;
    if (wanted) fillLive();
    else fillFrames();
  };
  const who = segmented({ label: "Person", names: people.map((_, k) => `Person ${k + 1}`), value: 0, onchange: choose });
  fillFrames();
  root.replaceChildren(
    h(
      "div",
      { class: "lab-hero" },
      figure(portrait, "a portrait"),
      h("span", { class: "lab-arrow", "aria-hidden": "true" }, "→"),
      figure(grid, `its code, ${codes[0].length} numbers`),
      h("span", { class: "lab-arrow", "aria-hidden": "true" }, "→"),
      figure(edited, "edited"),
    ),
    h("div", { class: "lab-group lab-plain" }, place, h("div", { class: "lab-row lab-spread" }, who.element, goLive), status.element),
  );
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) pass();
}

/** Rows of numbers in [-3, 3] from the grey levels of a picture. */
async function numbers(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const { data, width, height } = context.getImageData(0, 0, canvas.width, canvas.height);
  return Array.from({ length: height }, (_, y) => Float32Array.from({ length: width }, (_, x) => (data[4 * (y * width + x)] - 128) / 42));
}

/** A code as a square of coloured cells: blue below zero, orange above. */
function paint(canvas, code) {
  const side = Math.ceil(Math.sqrt(code.length));
  const cells = new Uint8ClampedArray(4 * side * side).fill(255);
  code.forEach((value, i) => {
    const strength = Math.min(1, Math.abs(value) / 2.5);
    const colour = value < 0 ? [0, 114, 178] : [230, 159, 0];
    for (let c = 0; c < 3; c++) cells[4 * i + c] = 245 + strength * (colour[c] - 245);
  });
  canvas.width = canvas.height = side;
  canvas.getContext("2d").putImageData(new ImageData(cells, side, side), 0, 0);
  canvas.setAttribute("aria-label", `The code as a square of ${code.length} coloured cells: blue below zero, orange above`);
  canvas.code = code; // for those who look from outside, such as the tests
}
