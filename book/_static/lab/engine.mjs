// The lab's data, the worker that runs the models, and the line that tells how it goes.
import { newest } from "./lab.mjs";
import { button, h } from "./page.mjs";

const HERE = new URL("./generated/", import.meta.url);
let counter = 0;

/** What the build prepared. */
export async function openLab(root) {
  const answer = await fetch(new URL("lab.json", HERE));
  if (!answer.ok) throw new Error(`lab.json: answer ${answer.status}`);
  root.lab = new Lab(await answer.json());
  return root.lab;
}

const TITLES = {
  mapping: "the mapping network",
  synthesis: "the generator",
  inversion: "the encoder",
  factors: "the factor reader",
  sketch: "the sketch encoder",
  segmentation: "the label encoder",
  super_resolution: "the super-resolution encoder",
};

/** The data, and a worker that runs the models. `onprogress(text, share)` while something is downloaded. */
export class Lab {
  constructor(data) {
    Object.assign(this, data);
    this.size = data.generator.size;
    this.onprogress = () => {};
    this.waiting = new Map();
    this.worker = null;
  }

  has(model) {
    return model in this.models;
  }

  file(name) {
    return new URL(this.frames.files[name], HERE).href;
  }

  #start() {
    this.worker = new Worker(new URL("worker.mjs", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => {
      if (data.progress) {
        const { what, loaded, total } = data.progress;
        const share = loaded / total;
        this.onprogress(share < 1 ? `Loading ${what}: ${(loaded / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB` : "", share);
        return;
      }
      const { resolve, reject } = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if (data.error) reject(new Error(data.error));
      else resolve(data);
    };
    this.worker.onerror = (event) => {
      event.preventDefault();
      for (const { reject } of this.waiting.values()) reject(new Error("download:the runtime (its program did not load)"));
      this.waiting.clear();
      this.worker = null;
    };
  }

  /** Output of a model for one input (or several in a batch), as one Float32Array. */
  async run(name, input, batch = 1) {
    if (!this.worker) this.#start();
    const about = this.models[name];
    const model = { ...about, url: new URL(about.file, HERE).href, title: TITLES[name] ?? name };
    const id = ++counter;
    const answer = new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
    this.worker.postMessage({ id, model, batch, input: input ? Float32Array.from(input) : null });
    return (await answer).output;
  }

  /** Pixels of the prepared sheet `name`: an array of RGBA tiles. */
  async tiles(name) {
    const image = new Image();
    image.src = this.file(name);
    try {
      await image.decode();
    } catch {
      throw new Error("download:the prepared pictures (no answer)");
    }
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const { columns } = this.frames;
    const rows = image.naturalHeight / this.size;
    return Array.from({ length: rows * columns }, (_, i) => {
      const [x, y] = [(i % columns) * this.size, Math.floor(i / columns) * this.size];
      return context.getImageData(x, y, this.size, this.size).data;
    });
  }
}

/** One sentence for a reader. */
export function sentence(error) {
  const text = String(error?.message ?? error);
  if (text.startsWith("download:")) return `Could not load ${text.slice(9)}. Check the connection and try again.`;
  return `Something went wrong: ${text}`;
}

/** The line under the title: progress, messages, errors with a button that tries again. */
export class Status {
  constructor(lab) {
    this.bar = h("progress", { max: 1, value: 0, "aria-label": "download", hidden: true });
    this.text = h("span", { role: "status" });
    this.failed = new Map(); // what to call again, with which argument
    this.again = button("Try again", () => this.#retry(), { hidden: true });
    this.element = h("div", { class: "lab-status" }, this.bar, this.text, this.again);
    lab.onprogress = (text, share) => {
      if (this.element.dataset.kind === "error") this.clear();
      this.text.textContent = text;
      this.bar.hidden = !text;
      this.bar.value = share;
    };
  }

  say(text, kind = "") {
    this.element.dataset.kind = kind;
    this.bar.hidden = true;
    this.text.textContent = text;
    this.again.hidden = true;
  }

  clear() {
    this.say("");
  }

  /** Show an error; the button calls `again(argument)`, and whatever else has failed. */
  fail(error, again, argument) {
    this.say(sentence(error), "error");
    this.failed.set(again, argument);
    this.again.hidden = false;
  }

  #retry() {
    const failed = [...this.failed];
    this.failed.clear();
    this.clear();
    for (const [again, argument] of failed) again(argument);
  }
}

/** A function that does `work` with the newest argument and shows what goes wrong; `again` calls it with the last one. */
export function live(status, work) {
  const follow = newest(work);
  const go = (argument) => follow(argument).catch((error) => status.fail(error, go, argument));
  return go;
}
