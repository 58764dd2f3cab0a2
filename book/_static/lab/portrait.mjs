// A person on a page: drawn from factors by the generator, or a picture of the reader's own through the encoder.
import { live } from "./engine.mjs";
import { drawFactors, numbersOf, random, repeated } from "./lab.mjs";
import { button, factorControl, figure, folded, h, Picture } from "./page.mjs";
import { uploadButton } from "./upload.mjs";

export const CHANGED_OFTEN = ["hair_style", "hair_colour", "skin_tone", "age", "beard", "glasses", "hat", "yaw", "smile", "light_azimuth"];

/** w+ of factors. */
export async function codesOf(lab, factors) {
  const w = await lab.run("mapping", numbersOf(lab.world, factors));
  return repeated(w, lab.generator.nStyles);
}

/** A card: picture, "New person", a few controls, upload where there is an encoder. `onchange(codes)` after every change. */
export class Portrait {
  constructor(lab, status, { title, person, onchange, names = CHANGED_OFTEN }) {
    this.lab = lab;
    this.onchange = onchange;
    this.factors = { ...lab.world.people[person] };
    this.codes = null;
    this.picture = new Picture(lab.size, title);
    this.draw = random(7919 * (person + 1));
    this.names = names;
    this.controls = h("div", { class: "lab-controls" });
    this.follow = live(status, () => this.#redraw());
    this.followUpload = live(status, (data) => this.#invert(data));
    const upload = lab.has("inversion") ? uploadButton(lab.size, status, (data) => this.followUpload(data)) : null;
    this.figure = figure(this.picture, title);
    this.buttons = h("div", { class: "lab-row" }, button("New person", () => this.renew()), upload);
    this.element = h(
      "section",
      { class: "lab-portrait", "aria-label": title },
      this.figure,
      this.buttons,
      names.length ? folded("Change this person", false, this.controls) : null,
    );
    this.#fill();
  }

  #fill() {
    const byName = Object.fromEntries(this.lab.world.factors.map((f) => [f.name, f]));
    this.controls.replaceChildren(
      ...this.names.map((name) => {
        const set = (value) => {
          this.factors[name] = value;
          this.follow();
        };
        return factorControl(byName[name], this.factors[name], set).element;
      }),
    );
  }

  /** Another person, drawn with the world's frequencies. */
  renew() {
    this.factors = { ...drawFactors(this.lab.world, this.draw), pitch: 0, roll: 0 };
    this.#fill();
    return this.follow();
  }

  async #redraw() {
    await this.#use(await codesOf(this.lab, this.factors));
  }

  async #invert(data) {
    await this.#use(await this.lab.run("inversion", data));
  }

  async #use(codes) {
    this.codes = codes;
    this.picture.show(await this.lab.run("synthesis", codes), codes);
    this.picture.factors = this.factors;
    await this.onchange(codes);
  }
}
