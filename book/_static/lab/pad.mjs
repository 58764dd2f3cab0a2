// A pad to draw on with a pointer: brush, eraser, undo, clear. A cell holds one number: a grey level or a class.
import { History } from "./lab.mjs";
import { button, h, segmented, slider } from "./page.mjs";

/** `colours[value]` is what a cell looks like, [r, g, b]. `onchange(cells)` during and after each stroke. */
export class Pad {
  constructor({ size, cells, colours, label, width, widest, tools, onchange }) {
    this.size = size;
    this.cells = cells;
    this.colours = colours;
    this.onchange = onchange;
    this.value = 0;
    this.width = width;
    this.history = new History();
    this.cursor = { x: size / 2, y: size / 2 };
    this.canvas = h("canvas", {
      width: size,
      height: size,
      class: "lab-picture lab-pad",
      tabindex: 0,
      role: "application",
      "aria-label": `${label}. Draw with a pointer; with the keyboard, move by arrow keys and hold the space bar to draw. Control and Z takes a stroke back.`,
    });
    this.canvas.pad = this;
    this.#listen();
    this.undoButton = button("Undo", () => this.undo());
    this.redoButton = button("Redo", () => this.redo());
    this.brush = slider({ label: "Brush", min: 1, max: widest, step: 1, value: width, shown: (v) => `${v} px`, oninput: (v) => (this.width = v) });
    this.toolbar = h(
      "div",
      { class: "lab-tools" },
      tools ? segmented({ label: "Tool", names: tools.map((t) => t.name), value: 0, onchange: (k) => (this.value = tools[k].value) }).element : null,
      this.brush.element,
      h("div", { class: "lab-row" }, this.undoButton, this.redoButton),
    );
    if (tools) this.value = tools[0].value;
    this.paint();
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return { x: ((event.clientX - box.left) / box.width) * this.size, y: ((event.clientY - box.top) / box.height) * this.size };
  }

  #listen() {
    const { canvas } = this;
    let last = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      this.history.keep(this.cells.slice());
      last = this.#place(event);
      this.line(last, last);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      for (const part of event.getCoalescedEvents?.().length ? event.getCoalescedEvents() : [event]) {
        const next = this.#place(part);
        this.line(last, next);
        last = next;
      }
    });
    for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, () => (last = null));
    let drawing = false;
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (event.key === " " && !event.repeat) {
        drawing = true;
        this.history.keep(this.cells.slice());
        this.line(this.cursor, this.cursor);
      } else if (step) {
        const far = this.size / 64;
        const next = { x: Math.min(this.size - 1, Math.max(0, this.cursor.x + step[0] * far)), y: Math.min(this.size - 1, Math.max(0, this.cursor.y + step[1] * far)) };
        if (drawing) this.line(this.cursor, next);
        this.cursor = next;
        this.paint();
      } else if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey)) {
        event.shiftKey ? this.redo() : this.undo();
      } else return;
      event.preventDefault();
    });
    canvas.addEventListener("keyup", (event) => {
      if (event.key === " ") drawing = false;
    });
    for (const kind of ["focus", "blur"]) canvas.addEventListener(kind, () => this.paint());
  }

  /** A stroke from one place to another, in cells. */
  line(from, to) {
    const radius = this.width / 2;
    const steps = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y) / Math.max(0.5, radius / 2)));
    for (let s = 0; s <= steps; s++) this.#dot(from.x + ((to.x - from.x) * s) / steps, from.y + ((to.y - from.y) * s) / steps, radius);
    this.paint();
    this.onchange(this.cells);
  }

  #dot(x, y, radius) {
    const reach = Math.ceil(radius);
    for (let j = Math.max(0, Math.floor(y) - reach); j <= Math.min(this.size - 1, Math.floor(y) + reach); j++) {
      for (let i = Math.max(0, Math.floor(x) - reach); i <= Math.min(this.size - 1, Math.floor(x) + reach); i++) {
        if (Math.hypot(i + 0.5 - x, j + 0.5 - y) <= Math.max(radius, 0.71)) this.cells[j * this.size + i] = this.value;
      }
    }
  }

  undo() {
    this.#back(this.history.undo(this.cells.slice()));
  }

  redo() {
    this.#back(this.history.redo(this.cells.slice()));
  }

  #back(cells) {
    if (cells) this.#set(cells);
    else this.paint();
  }

  /** Other contents, as one step that can be undone. */
  replace(cells) {
    this.history.keep(this.cells.slice());
    this.#set(cells);
  }

  #set(cells) {
    this.cells = cells;
    this.paint();
    this.onchange(cells);
  }

  paint() {
    const rgba = new Uint8ClampedArray(4 * this.cells.length).fill(255);
    this.cells.forEach((value, i) => rgba.set(this.colours[value], 4 * i));
    const context = this.canvas.getContext("2d");
    context.putImageData(new ImageData(rgba, this.size, this.size), 0, 0);
    if (document.activeElement === this.canvas && this.canvas.matches(":focus-visible")) {
      context.strokeStyle = "#d55e00";
      context.strokeRect(this.cursor.x - this.width / 2, this.cursor.y - this.width / 2, this.width, this.width);
    }
    if (this.undoButton) {
      this.undoButton.disabled = !this.history.past.length;
      this.redoButton.disabled = !this.history.future.length;
    }
  }
}
