// The parts that the pages are made of: pictures and labelled controls.
import { enlarged, toRGBA } from "./pictures.mjs";

let counter = 0;

/** An element: h("button", { class: "x", onclick: f }, "text", child). */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// ---- pictures ----------------------------------------------------------------------------------------------------------

const TIMES = 6;

/** A canvas that shows a small picture smoothly enlarged. `pixels` are the RGBA of the small one. */
export class Picture {
  constructor(size, label, { smooth = true } = {}) {
    this.size = size;
    this.pixels = null;
    this.data = null;
    this.smooth = smooth;
    const side = size * TIMES;
    this.canvas = h("canvas", { width: side, height: side, role: "img", "aria-label": label, class: "lab-picture" });
    this.canvas.picture = this; // for those who look from outside, such as the tests
    if (!smooth) this.canvas.classList.add("lab-pixels");
  }

  /** Planes in [-1, 1], and the codes they were drawn from. */
  show(data, codes = null) {
    this.data = data;
    this.codes = codes;
    this.showPixels(toRGBA(data, this.size));
  }

  showPixels(rgba) {
    this.pixels = rgba;
    const side = this.size * TIMES;
    const context = this.canvas.getContext("2d");
    if (this.smooth) {
      context.putImageData(new ImageData(enlarged(rgba, this.size, TIMES), side, side), 0, 0);
    } else {
      const small = new OffscreenCanvas(this.size, this.size);
      small.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(rgba), this.size, this.size), 0, 0);
      context.imageSmoothingEnabled = false;
      context.drawImage(small, 0, 0, side, side);
    }
    this.canvas.dataset.shown = String(Number(this.canvas.dataset.shown ?? 0) + 1);
  }

  describe(text) {
    this.canvas.setAttribute("aria-label", text);
  }

  /** Save what is shown as a PNG file. */
  save(name) {
    this.canvas.toBlob((blob) => {
      const link = h("a", { href: URL.createObjectURL(blob), download: `${name}.png` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    }, "image/png");
  }
}

export function figure(picture, caption, ...more) {
  return h("figure", { class: "lab-figure" }, picture.canvas ?? picture, h("figcaption", {}, caption), ...more);
}

// ---- controls ----------------------------------------------------------------------------------------------------------

export function button(text, onclick, attributes = {}) {
  return h("button", { type: "button", onclick, ...attributes }, text);
}

/** A labelled slider with its value beside it. `shown(value)` writes the value with its unit. */
export function slider({ label, min, max, step, value, shown = (v) => v, oninput, hint }) {
  const id = `lab-${++counter}`;
  const output = h("output", { for: id }, shown(value));
  const input = h("input", { type: "range", id, min, max, step, value, "aria-valuetext": shown(value) });
  const update = () => {
    output.textContent = shown(Number(input.value));
    input.setAttribute("aria-valuetext", shown(Number(input.value)));
  };
  input.addEventListener("input", () => {
    update();
    oninput(Number(input.value));
  });
  const element = h("div", { class: "lab-slider" }, h("label", { for: id, title: hint }, label), output, input);
  return {
    element,
    input,
    get value() {
      return Number(input.value);
    },
    set value(v) {
      input.value = v;
      update();
    },
  };
}

/** A labelled list to choose from. */
export function choice({ label, names, value, onchange }) {
  const id = `lab-${++counter}`;
  const select = h("select", { id }, ...names.map((name, k) => h("option", { value: k, selected: k === value }, name)));
  select.addEventListener("change", () => onchange(Number(select.value)));
  const element = h("div", { class: "lab-choice" }, h("label", { for: id }, label), select);
  return {
    element,
    input: select,
    get value() {
      return Number(select.value);
    },
    set value(v) {
      select.value = v;
    },
  };
}

/** A row of buttons of which one is pressed. */
export function segmented({ label, names, value, onchange }) {
  const buttons = names.map((name, k) =>
    button(name, () => {
      set(k);
      onchange(k);
    }),
  );
  const set = (k) => buttons.forEach((b, i) => b.setAttribute("aria-pressed", String(i === k)));
  set(value);
  return { element: h("div", { class: "lab-segmented", role: "group", "aria-label": label }, ...buttons), set };
}

export function group(title, ...children) {
  return h("fieldset", { class: "lab-group" }, h("legend", {}, title), ...children);
}

export function folded(title, open, ...children) {
  return h("details", { class: "lab-folded", open }, h("summary", {}, title), ...children);
}

const WORDS = {
  yaw: "Turn",
  pitch: "Look up",
  roll: "Tilt",
  eye_open: "Eyes open",
  brow_raise: "Brows raised",
  gaze_x: "Gaze sideways",
  gaze_y: "Gaze up",
  light_azimuth: "Light from the side",
  light_elevation: "Light from above",
  earring_left: "Ear-ring",
  background_pattern: "Pattern behind",
  background_palette: "Colours behind",
  background_scale: "Size of the pattern",
  cloth_pattern: "Pattern of the clothes",
  cloth_palette: "Colours of the clothes",
};

/** "hair_colour" as a reader's word. */
export function factorTitle(name) {
  return WORDS[name] ?? (name.charAt(0).toUpperCase() + name.slice(1)).replaceAll("_", " ");
}

const UNITS = { degrees: "°" };

/** Names of a factor's choices; those that have but a number are "no. 1", "no. 2", ... */
export function choiceNames(factor) {
  const numbered = /^\d+$/.test(factor.names[0]) && !factor.name.endsWith("angle");
  return numbered ? factor.names.map((n) => `no. ${Number(n) + 1}`) : factor.names;
}

/** A slider or a list for one factor of the world; `onchange(value)`. */
export function factorControl(factor, value, onchange) {
  const label = factorTitle(factor.name);
  if (factor.kind === "categorical") {
    return choice({ label, names: choiceNames(factor), value, onchange });
  }
  const unit = UNITS[factor.unit];
  const shown = (v) => (unit ? `${Math.round(v)}${unit}` : v.toFixed(2));
  const step = unit ? 1 : 0.01;
  return slider({ label, min: factor.low, max: factor.high, step, value, shown, oninput: onchange, hint: factor.meaning });
}
