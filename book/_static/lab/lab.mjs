// What every page of the lab computes, without a page: factors and their numbers, codes, scores (pictures: pictures.mjs).
// Unit-tested in node (tests/lab.test.mjs) against values that Python wrote.

// ---- factors -----------------------------------------------------------------------------------------------------------

/** Small seeded generator of uniform numbers in [0, 1) (mulberry32): the same people on every visit. */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** A standard normal number (Box and Muller). */
export function normal(draw) {
  return Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw());
}

function drawFactor(factor, draw) {
  const { low, high, weights } = factor;
  const u = draw();
  if (factor.kind === "categorical") {
    let edge = 0;
    for (let k = 0; k < weights.length - 1; k++) if (u < (edge += weights[k])) return k;
    return weights.length - 1;
  }
  if (factor.distribution === "bell") return low + ((high - low) * (u + draw() + draw())) / 3;
  if (factor.distribution === "often_zero") {
    return u < weights[0] ? 0 : low + ((high - low) * (u - weights[0])) / (1 - weights[0]);
  }
  return low + (high - low) * u;
}

/** All factors of a new person, with the frequencies of the world. */
export function drawFactors(world, draw) {
  const factors = {};
  for (const factor of world.factors) factors[factor.name] = drawFactor(factor, draw);
  if (draw() < world.pairedEarrings) factors.earring_right = factors.earring_left;
  return factors;
}

/** What the mapping network reads: the port of `numbers` in pspnb/world2/prior.py. */
export function numbersOf(world, factors) {
  const out = [];
  for (const factor of world.factors) {
    const value = factors[factor.name];
    if (value === undefined || !(value >= factor.low && value <= factor.high)) {
      throw new RangeError(`expected ${factor.name} in [${factor.low}, ${factor.high}], got ${value}`);
    }
    if (factor.kind === "categorical") {
      factor.weights.forEach((p, k) => {
        out.push(((k === value ? 1 : 0) - p) / Math.max(Math.sqrt(p * (1 - p)), 0.25));
      });
    } else if (factor.distribution === "circular") {
      const angle = 2 * Math.PI * value;
      for (const f of [Math.sin, Math.cos]) out.push(f(angle) * Math.SQRT2, f(2 * angle) * Math.SQRT2);
    } else {
      const v = (value - (factor.low + factor.high) / 2) / ((factor.high - factor.low) / 2);
      out.push(v * (factor.distribution === "bell" ? 3 : Math.sqrt(3)));
      if (factor.distribution === "often_zero") out.push(value > 0 ? 1 : -1);
      if (factor.unit === "degrees") out.push(Math.sin(Math.PI * v) * Math.SQRT2, Math.cos(Math.PI * v) * Math.SQRT2);
    }
  }
  return Float32Array.from(out);
}

/** Factors as a reader network's raw outputs say: shares of the range for numbers, probabilities for choices. */
export function readings(heads, values) {
  const out = {};
  let start = 0;
  for (const head of heads) {
    const part = Array.from(values.slice(start, start + head.width));
    start += head.width;
    if (head.range) {
      out[head.name] = { share: Math.min(1, Math.max(0, (part[0] + 1) / 2)) };
    } else if (head.width > 2) {
      const top = Math.max(...part);
      const weights = part.map((x) => Math.exp(x - top));
      const sum = weights.reduce((a, b) => a + b);
      out[head.name] = { choices: weights.map((x) => x / sum) };
    }
  }
  return out;
}

/** What moved between two readings, largest first: a share of the range, or the probability that changed sides. */
export function movements(before, after) {
  const out = [];
  for (const [name, a] of Object.entries(before)) {
    const b = after[name];
    if (a.share !== undefined) out.push({ name, amount: Math.abs(b.share - a.share), signed: b.share - a.share });
    else {
      const amount = a.choices.reduce((sum, p, k) => sum + Math.abs(b.choices[k] - p), 0) / 2;
      const best = b.choices.indexOf(Math.max(...b.choices));
      out.push({ name, amount, choice: best });
    }
  }
  return out.sort((x, y) => y.amount - x.amount);
}

// ---- codes -------------------------------------------------------------------------------------------------------------

/** w (d) repeated for every style: w+ (n * d). */
export function repeated(w, nStyles) {
  const codes = new Float32Array(nStyles * w.length);
  for (let k = 0; k < nStyles; k++) codes.set(w, k * w.length);
  return codes;
}

/** Each style k of `a` moved by shares[k] of the way to `b`. */
export function mixed(a, b, shares) {
  const d = a.length / shares.length;
  return a.map((value, i) => value + shares[Math.floor(i / d)] * (b[i] - value));
}

/** a + strength (to - from). */
export function moved(a, from, to, strength) {
  return a.map((value, i) => value + strength * (to[i] - from[i]));
}

// ---- scores ------------------------------------------------------------------------------------------------------------

/** 95 % interval of a share (Wilson), for `right` of `n`. */
export function interval(right, n) {
  if (n === 0) return [0, 1];
  const z = 1.959964;
  const p = right / n;
  const middle = (p + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half = (z / (1 + (z * z) / n)) * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}

/** 0 ... n-1 in random order. */
export function shuffled(n, draw) {
  const out = Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(draw() * (i + 1));
    [out[i], out[j]] = [out[j], out[i]];
  }
  return out;
}

// ---- work that follows a hand ------------------------------------------------------------------------------------------

/** Calls `work` with the newest argument, one at a time: what came in between is skipped. */
export function newest(work) {
  let waiting = null;
  let busy = false;
  async function go() {
    busy = true;
    while (waiting) {
      const { argument, resolve, reject } = waiting;
      waiting = null;
      try {
        resolve(await work(argument));
      } catch (error) {
        reject(error);
      }
    }
    busy = false;
  }
  return (argument) =>
    new Promise((resolve, reject) => {
      if (waiting) waiting.resolve(undefined);
      waiting = { argument, resolve, reject };
      if (!busy) go();
    });
}

/** Steps that can be taken back: at most `limit` states are kept. */
export class History {
  constructor(limit = 40) {
    this.limit = limit;
    this.past = [];
    this.future = [];
  }

  /** Remember `state`, the one before a change. */
  keep(state) {
    this.past.push(state);
    if (this.past.length > this.limit) this.past.shift();
    this.future = [];
  }

  /** The state before; `now` can be redone. Null when there is none. */
  undo(now) {
    if (!this.past.length) return null;
    this.future.push(now);
    return this.past.pop();
  }

  /** The state that was undone last. Null when there is none. */
  redo(now) {
    if (!this.future.length) return null;
    this.past.push(now);
    return this.future.pop();
  }
}

/** What is wrong with a picture of this size, or null. */
export function sizeProblem(width, height, limit = 36e6) {
  if (width * height > limit) {
    return `This picture has ${Math.round((width * height) / 1e6)} megapixels; please choose one with at most ${limit / 1e6}.`;
  }
  if (Math.min(width, height) < 16) return `This picture is ${width} × ${height} pixels; please choose one of at least 16 × 16.`;
  return null;
}
