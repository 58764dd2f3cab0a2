// What the lab computes, in node. Run by tests/test_lab.py, which writes the file named in LAB_VALUES.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as rest from "../book/_static/lab/lab.mjs";
import * as pictures from "../book/_static/lab/pictures.mjs";

const lab = { ...rest, ...pictures };

const values = JSON.parse(readFileSync(process.env.LAB_VALUES, "utf8"));

function close(got, wanted, tolerance, what = "") {
  assert.equal(got.length, wanted.length, `${what}: length`);
  let worst = 0;
  for (let i = 0; i < wanted.length; i++) worst = Math.max(worst, Math.abs(got[i] - wanted[i]));
  assert.ok(worst <= tolerance, `${what}: off by ${worst}`);
}

test("numbers of factors are Python's", () => {
  assert.ok(values.people.length >= 20);
  for (const { factors, numbers } of values.people) close(lab.numbersOf(values.world, factors), numbers, 2e-5, "numbers");
});

test("factors out of range or missing are refused", () => {
  const { factors } = values.people[0];
  assert.throws(() => lab.numbersOf(values.world, { ...factors, yaw: 60 }), /expected yaw in \[-40, 40\], got 60/);
  const { smile, ...rest } = factors;
  assert.throws(() => lab.numbersOf(values.world, rest), /expected smile/);
});

test("drawn people have the world's frequencies", () => {
  const draw = lab.random(1);
  const people = Array.from({ length: 6000 }, () => lab.drawFactors(values.world, draw));
  const byName = Object.fromEntries(values.world.factors.map((f) => [f.name, f]));
  for (const factor of values.world.factors) {
    const drawn = people.map((p) => p[factor.name]);
    assert.ok(drawn.every((v) => v >= factor.low && v <= factor.high), factor.name);
    if (factor.kind === "categorical" && factor.name !== "earring_right") {
      factor.weights.forEach((w, k) => {
        const share = drawn.filter((v) => v === k).length / drawn.length;
        assert.ok(Math.abs(share - w) < 4.5 * Math.sqrt((w * (1 - w)) / 6000) + 1e-3, `${factor.name} ${k}: ${share} for ${w}`);
      });
    }
  }
  const alike = people.filter((p) => p.earring_left === p.earring_right).length / 6000;
  const chance = byName.earring_left.weights.reduce((sum, w) => sum + w * w, 0);
  assert.ok(Math.abs(alike - (0.8 + 0.2 * chance)) < 0.03);
  const closed = people.filter((p) => p.mouth_open === 0).length / 6000;
  assert.ok(Math.abs(closed - byName.mouth_open.weights[0]) < 0.03);
  assert.deepEqual(lab.drawFactors(values.world, lab.random(5)), lab.drawFactors(values.world, lab.random(5)));
});

test("codes are mixed style by style and moved along a line", () => {
  const { a, b, shares, mixed } = values.mix;
  close(lab.mixed(Float32Array.from(a), Float32Array.from(b), shares), mixed, 1e-6, "mixed");
  assert.deepEqual([...lab.repeated(Float32Array.of(1, 2), 3)], [1, 2, 1, 2, 1, 2]);
  assert.deepEqual([...lab.moved(Float32Array.of(1, 1), [0, 0], [2, -4], 0.5)], [2, -1]);
});

test("pictures become levels and back", () => {
  const { planes, levels, size } = values.picture;
  const rgba = lab.toRGBA(Float32Array.from(planes), size);
  const n = size * size;
  for (let i = 0; i < n; i++) for (let c = 0; c < 3; c++) assert.equal(rgba[4 * i + c], levels[c * n + i]);
  close(lab.fromRGBA(rgba, size), levels.map((v) => v / 127.5 - 1), 1e-6, "planes");
  assert.deepEqual([...lab.fromRGBA([10, 20, 30, 0], 1)], [1, 1, 1]); // transparent: white paper
});

test("the sketch, the shrunk and the enlarged picture are Python's", () => {
  const { planes, size, sketch, low } = values.picture;
  const data = Float32Array.from(planes).map((v) => Math.min(1, Math.max(-1, v)));
  close(lab.pencil(data, size), sketch, 1e-5, "sketch");
  for (const [factor, wanted] of Object.entries(low)) {
    const few = lab.shrunk(data, size, Number(factor));
    close(lab.bilinear(few, size / factor, size), wanted, 1e-5, `factor ${factor}`);
  }
});

test("enlarging keeps flat colours, edges in place, and single pixels centred", () => {
  const flat = lab.enlarged(new Uint8ClampedArray(4 * 16).fill(90), 4, 6);
  assert.ok(flat.every((v, i) => v === (i % 4 === 3 ? 255 : 90)));
  const step = new Uint8ClampedArray(4 * 64).fill(255);
  for (let i = 0; i < 64; i++) if (i % 8 < 4) step.fill(0, 4 * i, 4 * i + 3);
  const wide = lab.enlarged(step, 8, 6);
  const row = Array.from({ length: 48 }, (_, x) => wide[4 * (20 * 48 + x)]);
  assert.ok(row.slice(0, 21).every((v) => v < 20) && row.slice(27).every((v) => v > 235));
  close(row, row.map((_, x) => 255 - row[47 - x]), 1, "symmetric");
});

test("the difference counts every colour once", () => {
  const a = Uint8ClampedArray.of(10, 20, 30, 255, 0, 0, 0, 255);
  const b = Uint8ClampedArray.of(13, 20, 0, 255, 0, 0, 0, 255);
  const { rgba, mean } = lab.difference(a, b, 3);
  assert.deepEqual([...rgba], [9, 0, 90, 255, 0, 0, 0, 255]);
  assert.equal(mean, 33 / 6);
});

test("labels as planes", () => {
  assert.deepEqual([...lab.oneHot(Uint8Array.of(0, 2, 1, 2), 3)], [1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 1]);
});

test("what moved", () => {
  const heads = [{ name: "yaw", width: 1, range: [-40, 40] }, { name: "hair", width: 3, range: null }, { name: "phase", width: 2, range: null }];
  const before = lab.readings(heads, [0, 5, 0, 0, 1, 0]);
  assert.equal(before.yaw.share, 0.5);
  assert.ok(!("phase" in before));
  const moved = lab.movements(before, lab.readings(heads, [0.5, 0, 5, 0, 1, 0]));
  assert.deepEqual(moved.map((m) => m.name), ["hair", "yaw"]);
  assert.equal(moved[0].choice, 1);
  assert.equal(moved[1].amount, 0.25);
});

test("the interval of a share is Wilson's", () => {
  for (const [right, n, low, high] of values.intervals) close(lab.interval(right, n), [low, high], 1e-5, `${right} of ${n}`);
  assert.deepEqual(lab.interval(0, 0), [0, 1]);
});

test("an order holds everybody once", () => {
  assert.deepEqual(lab.shuffled(50, lab.random(3)).sort((a, b) => a - b), Array.from({ length: 50 }, (_, i) => i));
});

test("work follows the newest argument, one at a time, and skips what is stale", async () => {
  const begun = [];
  let running = 0;
  const follow = lab.newest(async (x) => {
    assert.equal(++running, 1);
    begun.push(x);
    await new Promise((done) => setTimeout(done, 5));
    running--;
    if (x === 9) throw new Error("nine");
    return x * 2;
  });
  const answers = await Promise.all([follow(1), follow(2), follow(3)]);
  assert.deepEqual(begun, [1, 3]);
  assert.deepEqual(answers, [2, undefined, 6]);
  await assert.rejects(follow(9), /nine/);
  assert.equal(await follow(4), 8); // an error doesn't stop it
});

test("steps are undone and redone, and a new step forgets what was undone", () => {
  const history = new lab.History(2);
  for (const state of ["a", "b", "c"]) history.keep(state);
  assert.equal(history.undo("d"), "c");
  assert.equal(history.redo("c"), "d");
  assert.equal(history.undo("d"), "c");
  assert.equal(history.undo("c"), "b");
  assert.equal(history.undo("b"), null); // the limit
  history.keep("x");
  assert.equal(history.redo("y"), null);
});

test("pictures of 40 megapixels and of a few pixels are refused in one sentence", () => {
  assert.equal(lab.sizeProblem(8000, 5000), "This picture has 40 megapixels; please choose one with at most 36.");
  assert.match(lab.sizeProblem(4, 400), /at least 16 × 16/);
  assert.equal(lab.sizeProblem(6000, 6000), null);
});
