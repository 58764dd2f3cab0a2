// A picture of the reader's own: read, cut to a square by hand, made small. It stays in this browser; nothing is sent.
import { sizeProblem } from "./lab.mjs";
import { button, h, slider } from "./page.mjs";
import { fromRGBA } from "./pictures.mjs";

const SHOWN = 360; // px, longer side of the picture in the dialog

/** A button that asks for a file; `done(planes)` gets the chosen square as 3 x size x size in [-1, 1]. */
export function uploadButton(size, status, done, text = "Upload a picture") {
  const input = h("input", { type: "file", accept: "image/*", class: "lab-file", "aria-label": text, tabindex: -1 });
  input.addEventListener("change", async () => {
    const file = input.files[0];
    input.value = ""; // the same file may be chosen again
    if (!file) return;
    try {
      const picture = await opened(file);
      status.clear();
      crop(picture, size, done);
    } catch (error) {
      status.say(error.message, "error");
    }
  });
  const choose = button(text, () => input.click());
  return h("span", { class: "lab-upload" }, choose, input);
}

async function opened(file) {
  const image = new Image();
  image.src = URL.createObjectURL(file);
  try {
    await new Promise((resolve, reject) => {
      image.onload = resolve;
      image.onerror = reject;
    });
  } catch {
    throw new Error(`“${file.name}” is not a picture that this browser can read; PNG, JPEG and WebP work.`);
  } finally {
    setTimeout(() => URL.revokeObjectURL(image.src), 60_000);
  }
  const problem = sizeProblem(image.naturalWidth, image.naturalHeight);
  if (problem) throw new Error(problem);
  return image;
}

/** A dialog with the picture and a square that is dragged, moved by arrow keys, and sized by a slider. */
function crop(image, size, done) {
  const [width, height] = [image.naturalWidth, image.naturalHeight];
  const scale = SHOWN / Math.max(width, height);
  const shortest = Math.min(width, height);
  const square = { side: shortest, x: (width - shortest) / 2, y: (height - shortest) / 2 };
  const canvas = h("canvas", {
    width: Math.round(width * scale),
    height: Math.round(height * scale),
    class: "lab-crop",
    tabindex: 0,
    role: "img",
    "aria-label": "Your picture with the square that will be used; drag it, or move it with the arrow keys",
  });

  const draw = () => {
    square.x = Math.min(width - square.side, Math.max(0, square.x));
    square.y = Math.min(height - square.side, Math.max(0, square.y));
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    context.fillStyle = "rgba(0, 0, 0, 0.55)";
    context.fillRect(0, 0, canvas.width, canvas.height);
    const [x, y, s] = [square.x * scale, square.y * scale, square.side * scale];
    context.drawImage(image, square.x, square.y, square.side, square.side, x, y, s, s);
    context.strokeStyle = "#fff";
    context.lineWidth = 2;
    context.strokeRect(x + 1, y + 1, s - 2, s - 2);
  };

  let grip = null;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    grip = { x: event.clientX, y: event.clientY, from: { ...square } };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!grip) return;
    const zoom = scale * (canvas.getBoundingClientRect().width / canvas.width);
    square.x = grip.from.x + (event.clientX - grip.x) / zoom;
    square.y = grip.from.y + (event.clientY - grip.y) / zoom;
    draw();
  });
  for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, () => (grip = null));
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    square.x += (step[0] * shortest) / 50;
    square.y += (step[1] * shortest) / 50;
    draw();
  });
  const sized = slider({
    label: "Size of the square",
    min: 20,
    max: 100,
    step: 1,
    value: 100,
    shown: (v) => `${v} %`,
    oninput: (v) => {
      const side = Math.max(16, (shortest * v) / 100);
      square.x += (square.side - side) / 2;
      square.y += (square.side - side) / 2;
      square.side = side;
      draw();
    },
  });

  const dialog = h(
    "dialog",
    { class: "lab-dialog", "aria-label": "Choose the square" },
    h("p", {}, "Choose a square in which the face sits as in the portraits here. The picture stays in this browser."),
    canvas,
    sized.element,
    h(
      "div",
      { class: "lab-row" },
      button("Use this square", () => {
        dialog.close();
        done(fromRGBA(cut(image, square, size), size));
      }, { class: "lab-primary" }),
      button("Cancel", () => dialog.close()),
    ),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  draw();
  dialog.showModal();
  canvas.focus();
}

/** The square as size x size RGBA; halved step by step, so that every pixel of the picture counts. */
function cut(image, square, size) {
  let side = 2 ** Math.ceil(Math.log2(Math.min(square.side, 2048)));
  side = Math.max(size, side);
  let canvas = new OffscreenCanvas(side, side);
  let context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, side, side);
  context.drawImage(image, square.x, square.y, square.side, square.side, 0, 0, side, side);
  while (side > size) {
    side = Math.max(size, side / 2);
    const smaller = new OffscreenCanvas(side, side);
    smaller.getContext("2d").drawImage(canvas, 0, 0, side, side);
    canvas = smaller;
  }
  return canvas.getContext("2d").getImageData(0, 0, size, size).data;
}
