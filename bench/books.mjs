/**
 * Books on a running server, over HTTP: what a book of 10,000 pages takes beside one of ten, and what it
 * takes to render pages as a book beside the same number of jobs that are submitted one by one. Both sides
 * take turns, round by round.
 *
 * Flags: --pages N (default 10,000), --rendered N (default 200), --rounds N, --quick.
 */
import { inParallel, median, now, printTable, round, summary, until } from "./lib/measure.mjs";
import { readOptions } from "./lib/options.mjs";
import { startSimulatorProcess, startUp, withScratch } from "./lib/programs.mjs";
import { announce, machineFacts, saveResult } from "./lib/result.mjs";

const SMALL = 10;
/** Milliseconds to make a book of 10,000 pages. */
const CREATE_GOAL_MS = 2_000;
const READS = 20;
const SUBMIT_WIDTH = 16;
const COLOR_MAX = 0xffffff;
let color = 0;

const options = readOptions({
  pages: (quick) => (quick ? 1_000 : 10_000),
  rendered: (quick) => (quick ? 50 : 200),
  rounds: (quick) => (quick ? 2 : 5),
});
const machine = await machineFacts();
announce("books", machine);

await withScratch(async (folder, keep) => {
  const simulator = keep(await startSimulatorProcess(folder));
  const up = keep(await startUp(folder, simulator.url));
  const call = caller(up.url);
  const sizes = { small: SMALL, large: options.pages };
  const took = { small: emptyTimes(), large: emptyTimes() };
  for (let at = 0; at < options.rounds; at += 1) {
    const order = at % 2 === 0 ? ["small", "large"] : ["large", "small"];
    const books = {};
    for (const side of order) {
      const [ms, { batch }] = await timed(() => createBook(call, sizes[side], { paused: true }));
      took[side].create.push(ms);
      books[side] = batch;
    }
    for (let read = 0; read < READS; read += 1) {
      for (const side of order) await readBook(call, books[side], took[side]);
    }
  }
  const sizesTable = Object.keys(took.small).map((what) => ({
    what,
    [`${SMALL} pages, ms`]: round(median(took.small[what])),
    [`${options.pages} pages, ms`]: round(median(took.large[what])),
    ratio: round(median(took.large[what]) / median(took.small[what])),
  }));
  printTable(`books; goal: ${options.pages} pages are made in ${CREATE_GOAL_MS} ms`, sizesTable);

  const rates = { jobs: [], book: [] };
  const sides = { jobs: () => renderJobs(call), book: () => renderBook(call) };
  await sides.jobs();
  for (let at = 0; at < options.rounds; at += 1) {
    const order = at % 2 === 0 ? ["jobs", "book"] : ["book", "jobs"];
    for (const side of order) {
      const [ms] = await timed(sides[side]);
      rates[side].push((options.rendered / ms) * 1_000);
    }
  }
  const ratio = median(rates.book.map((rate, at) => rate / rates.jobs[at]));
  printTable(`${options.rendered} pictures`, [
    {
      "jobs, a second": round(median(rates.jobs)),
      "pages of a book, a second": round(median(rates.book)),
      ratio: round(ratio),
    },
  ]);
  const createMs = median(took.large.create);
  await saveResult("books", machine, {
    goals: { createMs: CREATE_GOAL_MS },
    pages: options.pages,
    small: summaries(took.small),
    large: summaries(took.large),
    rendered: options.rendered,
    jobsPerSecond: round(median(rates.jobs)),
    pagesPerSecond: round(median(rates.book)),
    ratio: round(ratio),
  });
  if (createMs >= CREATE_GOAL_MS) process.exitCode = 1;
});

function emptyTimes() {
  return { create: [], show: [], "list of books": [], "500 pages": [], "last page": [] };
}

function summaries(times) {
  return Object.fromEntries(Object.entries(times).map(([what, ms]) => [what, summary(ms)]));
}

async function readBook(call, { id, pageCount }, times) {
  const of = `/api/v1/batches/${id}`;
  const reads = {
    show: of,
    "list of books": "/api/v1/batches",
    "500 pages": `${of}/pages?limit=500`,
    "last page": `${of}/pages/${pageCount}`,
  };
  for (const [what, path] of Object.entries(reads)) {
    const [ms] = await timed(() => call("GET", path));
    times[what].push(ms);
  }
}

async function timed(work) {
  const begun = now();
  const result = await work();
  return [now() - begun, result];
}

function caller(base) {
  return async (method, path, body) => {
    const answer = await fetch(`${base}${path}`, {
      method,
      ...(body !== undefined && {
        body: JSON.stringify(body),
        headers: { "content-type": "application/json" },
      }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text.slice(0, 500)}`);
    return JSON.parse(text);
  };
}

/** Of a picture that was never asked for before, so that nothing comes from a cache. */
function nextColor() {
  color = (color + 1) % COLOR_MAX;
  return color;
}

function graphOf(value) {
  return {
    1: { class_type: "EmptyImage", inputs: { width: 64, height: 64, batch_size: 1, color: value } },
    2: { class_type: "SaveImage", inputs: { filename_prefix: "bench/page", images: ["1", 0] } },
  };
}

async function createBook(call, count, more) {
  const rows = Array.from({ length: count }, () => ({ color: nextColor() }));
  return await call("POST", "/api/v1/batches", {
    name: `bench ${count}`,
    graph: graphOf("{{color}}"),
    table: { rows },
    ...more,
  });
}

async function renderBook(call) {
  const { batch } = await createBook(call, options.rendered, { parallel: true });
  await untilEnded(call, `/api/v1/batches/${batch.id}`);
}

async function renderJobs(call) {
  const ids = [];
  await inParallel(options.rendered, SUBMIT_WIDTH, async () => {
    const { job } = await call("POST", "/api/v1/jobs", { graph: graphOf(nextColor()) });
    ids.push(job.id);
  });
  await inParallel(ids.length, SUBMIT_WIDTH, async (at) => {
    await untilEnded(call, `/api/v1/jobs/${ids[at]}`);
  });
}

async function untilEnded(call, path) {
  const ended = await until(async () => {
    const { status } = await call("GET", path);
    return ["completed", "failed", "attention", "cancelled", "timeout"].includes(status) && status;
  }, `${path} to end`);
  if (ended !== "completed") throw new Error(`${path} ended as ${ended}`);
}
