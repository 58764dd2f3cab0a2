// Pictures of the lab: levels, smooth enlargement, differences, and the inputs of the encoders (sketch, few pixels, label planes).
// Unit-tested in node like lab.mjs.

// Planes are c x size x size in [-1, 1], one behind the other; RGBA are levels as in a canvas.

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
