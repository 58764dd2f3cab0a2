// Renderer or network? One picture at a time, blind, and a score with an interval.
import { openLab, Status } from "./engine.mjs";
import { interval, shuffled } from "./lab.mjs";
import { button, figure, h, Picture } from "./page.mjs";

const ROUNDS = 16;
const NAMES = ["the renderer", "the network"];

export async function start(root) {
  const lab = await openLab(root);
  const status = new Status(lab);
  const shown = new Picture(lab.size, "Whose picture is this?");
  const other = new Picture(lab.size, "The other one’s picture of the same factors");
  const caption = h("figcaption", {}, "Whose picture is this?");
  const second = h("figure", { class: "lab-figure", hidden: true }, other.canvas, h("figcaption", {}));
  const verdict = h("p", { class: "lab-verdict", role: "status" });
  const score = h("p", { class: "lab-fine" });
  const answers = h("div", { class: "lab-row lab-center" });
  let [tiles, order, round, right] = [[], [], 0, 0];

  // A fair coin for each picture, and people in random order: nothing about the order gives it away.
  const again = () => {
    order = shuffled(lab.frames.quiz, Math.random).slice(0, ROUNDS).map((person) => ({ person, maker: Number(Math.random() < 0.5) }));
    [round, right] = [0, 0];
    ask();
  };
  const tile = (person, maker) => tiles[maker * lab.frames.quiz + person];

  const ask = () => {
    const { person, maker } = order[round];
    shown.showPixels(tile(person, maker));
    shown.describe("Whose picture is this?");
    caption.textContent = `Picture ${round + 1} of ${ROUNDS}: whose is it?`;
    second.hidden = true;
    verdict.textContent = "";
    answers.replaceChildren(...NAMES.map((name, k) => button(`${name.charAt(0).toUpperCase()}${name.slice(1)} (${"RN"[k]})`, () => judge(k), { class: "lab-primary" })));
    say();
  };

  const judge = (guess) => {
    const { person, maker } = order[round];
    const correct = guess === maker;
    right += correct;
    round += 1;
    verdict.textContent = `${correct ? "Right" : "Wrong"}: it was ${NAMES[maker]}’s.`;
    verdict.dataset.right = String(correct);
    caption.textContent = `By ${NAMES[maker]}`;
    other.showPixels(tile(person, 1 - maker));
    second.querySelector("figcaption").textContent = `By ${NAMES[1 - maker]}, same factors`;
    second.hidden = false;
    const last = round === ROUNDS;
    const next = button(last ? "Play again" : "Next picture", last ? again : ask, { class: "lab-primary" });
    answers.replaceChildren(next);
    next.focus();
    say();
  };

  const say = () => {
    if (!round) return (score.textContent = "Keys R and N answer too. Who guesses is right half of the time.");
    const [low, high] = interval(right, round).map((p) => Math.round(100 * p));
    const told = low > 50 ? "You can tell them apart." : high < 50 ? "You take one for the other." : "So far no better than guessing can be ruled out.";
    score.textContent = `${right} of ${round} right; 95 % interval ${low} to ${high} %. ${round >= 6 ? told : ""}`;
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, select, textarea")) return;
    const k = ["r", "n"].indexOf(event.key.toLowerCase());
    if (k >= 0 && answers.children.length === 2) judge(k);
  });

  root.replaceChildren(
    status.element,
    h("div", { class: "lab-two" }, h("figure", { class: "lab-figure" }, shown.canvas, caption), second),
    verdict,
    answers,
    score,
  );
  const load = async () => {
    try {
      tiles = await lab.tiles("quiz");
      again();
    } catch (error) {
      status.fail(error, load);
    }
  };
  await load();
}
