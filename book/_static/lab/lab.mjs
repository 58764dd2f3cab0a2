// What every page of the lab computes, without a page: factors and their numbers, codes, pictures, scores.
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

// ---- pictures: { size, data } with data in [-1, 1], planes of c x size x size ------------------------------------------

/** Levels 0 ... 255 of planes in [-1, 1] as RGBA; rounded, clipped. Ties go to the even level, as in torch. */
export function toRGBA(data, size) {
  const n = size * size;
  const out = new Uint8ClampedArray(4 * n);  // rounds half to even and clips by itself
  for (let i = 0; i < n; i++) {
    for (let c = 0; c < 3; c++) out[4 * i + c] = (data[c * n + i] + 1) * 127.5;
    out[4 * i + 3] = 255;
  }
  return out;
}

/** RGBA to planes in [-1, 1]; what is transparent lies on white paper. */
export function fromRGBA(rgba, size) {
  const n = size * size;
  const out = new Float32Array(3 * n);
  for (let i = 0; i < n; i++) {
    const alpha = rgba[4 * i + 3] / 255;
    for (let c = 0; c < 3; c++) out[c * n + i] = (rgba[4 * i + c] * alpha + 255 * (1 - alpha)) / 127.5 - 1;
  }
  return out;
}

/** A quarter of the cubic's taps for enlarging by a whole number (Catmull and Rom, a = -0.5), for each phase. */
function phases(times) {
  const cubic = (x) => {
    const t = Math.abs(x);
    if (t < 1) return (1.5 * t - 2.5) * t * t + 1;
    return t < 2 ? ((-0.5 * t + 2.5) * t - 4) * t + 2 : 0;
  };
  return Array.from({ length: times }, (_, phase) => {
    const place = (phase + 0.5) / times - 0.5;
    const first = Math.floor(place) - 1;
    return { first, taps: [0, 1, 2, 3].map((k) => cubic(place - first - k)) };
  });
}

/** An RGBA picture enlarged by a whole number with a smooth kernel: 64 px on a large screen without stairs. */
export function enlarged(rgba, size, times) {
  const side = size * times;
  const kernel = phases(times);
  const clamp = (i) => Math.min(size - 1, Math.max(0, i));
  const wide = new Float32Array(size * side * 3);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < side; x++) {
      const { first, taps } = kernel[x % times];
      const base = Math.floor(x / times) + first;
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let k = 0; k < 4; k++) sum += taps[k] * rgba[4 * (y * size + clamp(base + k)) + c];
        wide[3 * (y * side + x) + c] = sum;
      }
    }
  }
  const out = new Uint8ClampedArray(side * side * 4).fill(255);
  for (let y = 0; y < side; y++) {
    const { first, taps } = kernel[y % times];
    const base = Math.floor(y / times) + first;
    const rows = [0, 1, 2, 3].map((k) => 3 * side * clamp(base + k));
    for (let x = 0; x < side; x++) {
      for (let c = 0; c < 3; c++) {
        const at = 3 * x + c;
        out[4 * (y * side + x) + c] =
          taps[0] * wide[rows[0] + at] + taps[1] * wide[rows[1] + at] + taps[2] * wide[rows[2] + at] + taps[3] * wide[rows[3] + at];
      }
    }
  }
  return out;
}

/** |a - b| of two RGBA pictures, `gain` times; and the mean difference in levels of 255. */
export function difference(a, b, gain = 3) {
  const out = new Uint8ClampedArray(a.length).fill(255);
  let sum = 0;
  for (let i = 0; i < a.length; i++) {
    if (i % 4 === 3) continue;
    const d = Math.abs(a[i] - b[i]);
    sum += d;
    out[i] = gain * d;
  }
  return { rgba: out, mean: sum / ((a.length / 4) * 3) };
}

const reflect = (i, n) => (i < 0 ? -i : i >= n ? 2 * n - 2 - i : i);

/** 3 x 3 correlation of a plane with reflected borders. */
function filtered(plane, size, taps) {
  const out = new Float32Array(plane.length);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      let sum = 0;
      for (let j = 0; j < 9; j++) {
        if (taps[j]) sum += taps[j] * plane[reflect(y + Math.floor(j / 3) - 1, size) * size + reflect(x + (j % 3) - 1, size)];
      }
      out[y * size + x] = sum;
    }
  }
  return out;
}

/** Dark lines on white paper in [0, 1], from planes in [-1, 1]: the port of `pencil_sketch` in pspnb/transforms. */
export function pencil(data, size) {
  const n = size * size;
  const grey = new Float32Array(n);
  for (let i = 0; i < n; i++) grey[i] = (0.299 * data[i] + 0.587 * data[n + i] + 0.114 * data[2 * n + i] + 1) / 2;
  const smooth = filtered(grey, size, [1, 2, 1, 2, 4, 2, 1, 2, 1].map((t) => t / 16));
  const across = filtered(smooth, size, [-1, 0, 1, -2, 0, 2, -1, 0, 1]);
  const down = filtered(smooth, size, [-1, -2, -1, 0, 0, 0, 1, 2, 1]);
  const unit = (x) => Math.min(1, Math.max(0, x));
  return grey.map((_, i) => {
    const rising = Math.max(unit(across[i]), unit(down[i]));
    const falling = Math.max(unit(-across[i]), unit(-down[i]));
    return 1 - unit(0.75 * rising + 0.75 * falling);
  });
}

/** The cubic (a = -0.5) stretched by `factor`: the port of `bicubic_kernel` in pspnb/transforms. */
function bicubicTaps(factor) {
  const taps = Array.from({ length: 4 * factor }, (_, i) => {
    const x = Math.abs((i - 2 * factor + 0.5) / factor);
    if (x <= 1) return 1.5 * x ** 3 - 2.5 * x ** 2 + 1;
    return x < 2 ? -0.5 * x ** 3 + 2.5 * x ** 2 - 4 * x + 2 : 0;
  });
  const sum = taps.reduce((a, b) => a + b);
  return taps.map((t) => t / sum);
}

/** Index into a mirrored line, as often as it takes: 32 x on 64 px reaches beyond one reflection. */
function mirrored(i, n) {
  const period = 2 * n - 2;
  const j = ((i % period) + period) % period;
  return j < n ? j : period - j;
}

/** A picture shrunk by `factor`, clipped: the small one that super-resolution starts from. Planes in [-1, 1]. */
export function shrunk(data, size, factor) {
  const small = size / factor;
  const taps = bicubicTaps(factor);
  const before = Math.floor((3 * factor) / 2);
  const out = new Float32Array(3 * small * small);
  for (let c = 0; c < 3; c++) {
    const plane = data.subarray(c * size * size, (c + 1) * size * size);
    const rows = new Float32Array(small * size);
    for (let y = 0; y < small; y++) {
      for (let x = 0; x < size; x++) {
        let sum = 0;
        taps.forEach((t, k) => (sum += t * (plane[mirrored(y * factor + k - before, size) * size + x] + 1) * 0.5));
        rows[y * size + x] = sum;
      }
    }
    for (let y = 0; y < small; y++) {
      for (let x = 0; x < small; x++) {
        let sum = 0;
        taps.forEach((t, k) => (sum += t * rows[y * size + mirrored(x * factor + k - before, size)]));
        out[c * small * small + y * small + x] = Math.min(1, Math.max(0, sum)) * 2 - 1;
      }
    }
  }
  return out;
}

/** Planes of side `small` enlarged bilinearly to `size`, pixel centres kept: what the super-resolution encoder reads. */
export function bilinear(data, small, size) {
  const out = new Float32Array(3 * size * size);
  const scale = small / size;
  const places = Array.from({ length: size }, (_, i) => {
    const at = Math.max(0, (i + 0.5) * scale - 0.5);
    const low = Math.min(small - 1, Math.floor(at));
    return { low, high: Math.min(small - 1, low + 1), share: at - low };
  });
  for (let c = 0; c < 3; c++) {
    for (let y = 0; y < size; y++) {
      const v = places[y];
      for (let x = 0; x < size; x++) {
        const h = places[x];
        const at = (row, column) => data[c * small * small + row * small + column];
        const top = at(v.low, h.low) * (1 - h.share) + at(v.low, h.high) * h.share;
        const bottom = at(v.high, h.low) * (1 - h.share) + at(v.high, h.high) * h.share;
        out[c * size * size + y * size + x] = top * (1 - v.share) + bottom * v.share;
      }
    }
  }
  return out;
}

/** One plane per class. */
export function oneHot(labels, nClasses) {
  const out = new Float32Array(nClasses * labels.length);
  labels.forEach((label, i) => (out[label * labels.length + i] = 1));
  return out;
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
