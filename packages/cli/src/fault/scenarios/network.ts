import { finding } from "../observed.ts";
import { pictures, type Scenario } from "../scenario.ts";
import { completedMeanwhile, noFailureOfTheirOwn, oneAttemptEach, renderedOnce } from "./checks.ts";

const LOSS_SHARE = 0.1;
const SOCKETS_AWAY_MS = 4_000;
const POSTS_FAILED = 3;
const LOOKS_FAILED = 4;
const ONE_MACHINE = { comfyuis: 1, isOneMachine: true, replicas: 1 } as const;

/** Every tenth packet between Holdfast and ComfyUI is lost. */
export const networkBlip: Scenario = {
  name: "network-blip",
  title: "10 % of the packets to ComfyUI are lost",
  expectation: "packets are sent again: every job completes at its first attempt, rendered once",
  isQuick: true,
  plan: { ...ONE_MACHINE, lossShare: LOSS_SHARE },
  bare: "possible",
  real: "possible",
  work: (facts) => pictures(facts, 0.2),
  async begin({ link }) {
    if (link === undefined) throw new Error("a world with loss has a lossy link");
    await link.begin();
    return {
      how: link.words,
      struck: () => link.lost(),
      end: () => link.end(),
    };
  },
  check: (seen) => [oneAttemptEach(seen), noFailureOfTheirOwn(seen), ...renderedOnce(seen)],
};

/** The WebSocket breaks in mid-render, and no new one is taken for a while. */
export const socketLost: Scenario = {
  name: "socket-lost",
  title: "the WebSocket to ComfyUI breaks in mid-render and stays away",
  expectation: "the results are found by the history; nothing is rendered twice",
  plan: ONE_MACHINE,
  bare: "possible",
  real: "possible",
  work: (facts) => pictures(facts, 0.4),
  begin: ({ struck: { proxy }, clock, signal }) => {
    let cut = 0;
    return Promise.resolve({
      how: `the proxy cut the WebSocket and refused new ones for ${SOCKETS_AWAY_MS / 1_000} s`,
      async strike() {
        proxy.refuseSockets(true);
        cut = proxy.cutSockets();
        await clock.sleep(SOCKETS_AWAY_MS, signal);
        proxy.refuseSockets(false);
      },
      struck: () => Promise.resolve(cut),
      end: () => Promise.resolve(proxy.refuseSockets(false)),
    });
  },
  check: (seen) => [
    oneAttemptEach(seen),
    ...renderedOnce(seen),
    completedMeanwhile(seen, "while there was no socket"),
  ],
};

/** A gateway in front of ComfyUI answers 503 and 502. */
export const serverErrors: Scenario = {
  name: "server-errors",
  title: "ComfyUI's gateway answers 503 to prompts and 502 to looks at the history",
  expectation: "asked again until it answers; every job completes, none is rendered twice",
  plan: ONE_MACHINE,
  bare: "possible",
  real: "possible",
  work: (facts) => pictures(facts, 0.2),
  begin: ({ struck: { proxy } }) => {
    const answer = (status: number) => ({ kind: "answer", status }) as const;
    const rules = [
      proxy.add({ action: answer(503), method: "POST", path: "/prompt", count: POSTS_FAILED }),
      proxy.add({ action: answer(502), method: "GET", path: "/history/", count: LOOKS_FAILED }),
    ];
    const struck = (): number => rules.reduce((sum, rule) => sum + rule.struck(), 0);
    return Promise.resolve({
      how: `the proxy answered ${POSTS_FAILED} prompts with 503 and ${LOOKS_FAILED} looks with 502`,
      struck: () => Promise.resolve(struck()),
      end: () => Promise.resolve(rules.forEach((rule) => rule.remove())),
    });
  },
  check: (seen) => {
    const { jobs } = seen;
    const burnt = jobs.filter(({ job }) => (job?.failureCount ?? 0) > 1);
    return [
      ...renderedOnce(seen),
      finding(
        burnt.length === 0,
        `${jobs.length - burnt.length} of ${jobs.length} jobs have at most one failure of their own`,
      ),
    ];
  },
};
