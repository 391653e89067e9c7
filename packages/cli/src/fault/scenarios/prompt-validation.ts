import { malformedGraph } from "../graphs.ts";
import { finding } from "../observed.ts";
import { pictures, type Scenario } from "../scenario.ts";

/** Pages of the book that nobody can render. */
const EMPTY_PAGE = 1;
const MALFORMED_PAGE = 3;
const TRIES = 2;

/** An empty and a malformed page in a book. */
export const promptValidationFailure: Scenario = {
  name: "prompt-validation-failure",
  title: "a book has an empty and a malformed page",
  expectation:
    "both are tried twice, then flagged needs_regeneration; the rest of the book renders",
  isQuick: true,
  plan: { comfyuis: 1, isOneMachine: true, replicas: 1 },
  bare: "possible",
  real: "possible",
  isBook: true,
  work(facts) {
    return pictures({ ...facts, count: Math.max(facts.count, MALFORMED_PAGE + 1) }, 0.1).map(
      (job) => {
        if (job.index === EMPTY_PAGE) return { ...job, graph: {}, expected: "flagged" };
        if (job.index !== MALFORMED_PAGE) return job;
        return { ...job, graph: malformedGraph(job.index), expected: "flagged" };
      },
    );
  },
  async begin({ struck }) {
    // Holdfast need not ask ComfyUI to know them for bad; whether they are, only ComfyUI can say.
    const areRefused =
      (await struck.refuses({})) && (await struck.refuses(malformedGraph(MALFORMED_PAGE)));
    return {
      how: "one page has an empty graph, one a picture of no width, and this ComfyUI refuses both",
      struck: () => Promise.resolve(areRefused ? 1 : 0),
      end: () => Promise.resolve(),
    };
  },
  check({ pages }) {
    const bad = new Set([EMPTY_PAGE + 1, MALFORMED_PAGE + 1]);
    const flagged = pages.filter((page) => page.needs_regeneration);
    const isRight = flagged.length === bad.size && flagged.every(({ page }) => bad.has(page));
    const others = pages.filter(({ page }) => !bad.has(page));
    const done = others.filter(({ status }) => status === "done").length;
    return [
      finding(
        isRight,
        `flagged needs_regeneration: pages ${flagged.map(({ page }) => page).join(", ") || "none"} (expected ${[...bad].join(", ")})`,
      ),
      finding(done === others.length, `${done} of the ${others.length} other pages are done`),
      ...flagged.map(({ page, retry_count: retries, image_error: errors }) =>
        finding(
          retries + 1 === TRIES || errors.length === TRIES,
          `page ${page}: retry_count ${retries}, ${errors.length} structured errors, the last ${errors.at(-1)?.class ?? "none"}`,
        ),
      ),
    ];
  },
};
