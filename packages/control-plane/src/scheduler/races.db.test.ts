/** Interleavings that once lost or hung jobs, each as it was found. */
import { SURPLUS, type AttemptReport, type Lease } from "@holdfast/contract";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createSchedulerKit, type Agent, type SchedulerKit } from "../../testing/scheduler-kit.ts";

let kit: SchedulerKit;
beforeAll(async () => {
  kit = await createSchedulerKit({ max: 3 });
});
afterAll(() => kit.close());
beforeEach(() => kit.reset());

const failedBecause = (message: string): AttemptReport["outcome"] => ({
  kind: "failed",
  evidence: { channel: "execution", exceptionType: "RuntimeError", message },
  outputs: [],
});

describe("reports", () => {
  it("many failures at once never wait for each other's connections", async () => {
    await kit.queueJobs(12);
    const { agent } = await kit.register();
    const { leases } = await kit.poll(agent, 8);
    expect(leases).toHaveLength(8);
    const answered = await kit.scheduler().reports.report({
      machineId: agent.machineId,
      session: agent.session,
      reports: leases.map((lease) => kit.failedWith(lease, failedBecause("it broke"))),
    });
    expect(new Set(answered.answers.map((answer) => answer.result))).toEqual(new Set(["recorded"]));
  });

  it.each([
    ["a NUL character", "a\0b"],
    ["half a surrogate pair", `${"x".repeat(1999)}😀`],
    ["a lone surrogate", "\ud800"],
  ])("whose message holds %s are recorded", async (_what, message) => {
    const [jobId] = await kit.queueJobs(1);
    const { agent } = await kit.register();
    const lease = kit.only((await kit.poll(agent, 1)).leases);
    const { answers } = await kit.send(agent, kit.failedWith(lease, failedBecause(message)));
    expect(answers[0]?.result).toBe("recorded");
    expect((await kit.jobRow(jobId ?? "")).state).not.toBe("processing");
  });
});

describe("work that was staged too deep", () => {
  it("may be given back time and again: its job neither waits nor fails for it", async () => {
    const [jobId] = await kit.queueJobs(1);
    const { agent } = await kit.register();
    for (let time = 1; time <= 12; time += 1) {
      const lease = kit.only((await kit.poll(agent, 1)).leases);
      await kit.send(agent, kit.failedWith(lease, { kind: "released", reason: SURPLUS }));
      expect((await kit.jobRow(jobId ?? "")).state).toBe("queued");
    }
    // Nor does it use up the returns that trouble has.
    for (let time = 1; time <= 3; time += 1) {
      const lease = kit.only((await kit.poll(agent, 1)).leases);
      await kit.send(agent, kit.failedWith(lease, { kind: "released", reason: "displaced" }));
      expect((await kit.jobRow(jobId ?? "")).state).toBe("queued");
    }
  });
});

/** A holder that was away, a second one that has the job by then, and what each of them says. */
async function lateReport(on: SchedulerKit) {
  await on.storeBlob();
  const [jobId] = await on.queueJobs(1);
  const first = await on.register();
  const late = on.only((await on.poll(first.agent, 1)).leases);
  await on.scheduler().start();
  await expect.poll(async () => (await on.test.db.query("select from settings")).rowCount).toBe(1);
  await on.test.db.query("update leases set lease_until = now() - interval '1 s'");
  await expect.poll(async () => (await on.jobRow(jobId ?? "")).state).toBe("queued");
  const second = await on.register();
  const current = on.only((await on.poll(second.agent, 1)).leases);
  const fromFirst = (await on.send(first.agent, on.succeeded(late))).answers[0]?.result;
  const fromSecond = (await on.send(second.agent, on.succeeded(current))).answers[0]?.result;
  const { rowCount: completions } = await on.test.db.query(
    "select from events where type = 'job.completed' and job_id = $1",
    [jobId],
  );
  return { fromFirst, fromSecond, completions };
}

describe("the fence", () => {
  it("lets only the present holder complete the job, once", async () => {
    expect(await lateReport(kit)).toEqual({
      fromFirst: "lease_lost",
      fromSecond: "recorded",
      completions: 1,
    });
  });

  it("is what keeps the late holder out: without it the same reports complete the job twice", async () => {
    const unfenced = await createSchedulerKit({ isUnfenced: true });
    try {
      expect(await lateReport(unfenced)).toEqual({
        fromFirst: "recorded",
        fromSecond: "recorded",
        completions: 2,
      });
    } finally {
      await unfenced.close();
    }
  });
});

describe("a takeover", () => {
  it("never takes a lease that another machine was granted while it waited for the job's row", async () => {
    const [first, second] = await kit.queueJobs(2);
    const one = await kit.register();
    const leases = (await kit.poll(one.agent, 2)).leases;
    expect(leases).toHaveLength(2);
    const other = await kit.register();
    let taking: ReturnType<typeof kit.register> | undefined;
    // Both jobs are held by somebody else's transaction while the takeover begins.
    await kit.test.db.transaction(async (tx) => {
      await tx.query("select from jobs where id = any($1) for update", [[first, second]]);
      taking = kit.register(one.agent.machineId);
      await new Promise((resolve) => setTimeout(resolve, 150));
      // The second job goes to the other machine meanwhile.
      await tx.query("delete from leases where job_id = $1", [second]);
      await tx.query("update jobs set lease_epoch = lease_epoch + 2 where id = $1", [second]);
      await tx.query(
        `insert into leases (job_id, lease_epoch, attempt_id, instance_id, machine_id, lease_until)
         select $1, lease_epoch, 'att_other', $2, $3, now() + interval '1 minute'
         from jobs where id = $1`,
        [second, other.agent.instanceIds[0], other.agent.machineId],
      );
    });
    const { answer } = await (taking ?? Promise.reject(new Error("not begun")));
    expect(answer.leases.map((lease) => lease.jobId)).toEqual([first]);
    const { rows } = await kit.test.db.query<{ same: boolean }>(
      `select j.lease_epoch = l.lease_epoch as same from jobs j join leases l on l.job_id = j.id
       where j.id = $1`,
      [second],
    );
    expect(rows).toEqual([{ same: true }]);
  });
});

describe("a job without a lease", () => {
  it("is queued again instead of processing for ever", async () => {
    const [jobId] = await kit.queueJobs(1);
    const { agent } = await kit.register();
    await kit.poll(agent, 1);
    await kit.test.db.query("delete from leases");
    await kit.scheduler().start();
    await expect
      .poll(async () => (await kit.jobRow(jobId ?? "")).state, { timeout: 10_000 })
      .toBe("queued");
  });
});

describe("sessions and replicas", () => {
  it("an instance's state is what was reported last, whichever replica heard it", async () => {
    const { agent } = await kit.register();
    const replica = kit.makeScheduler();
    const say = (at: ReturnType<SchedulerKit["scheduler"]>, state: "healthy" | "unhealthy") => {
      agent.sequence += 1;
      return at.leases.poll(
        {
          machineId: agent.machineId,
          session: agent.session,
          sequence: agent.sequence,
          instances: agent.instanceIds.map((instanceId) => ({
            instanceId,
            state,
            reason: null,
            inventoryDigest: null,
            wants: 0,
            vramFreeBytes: null,
          })),
          held: [],
          waitMs: 0,
        },
        new AbortController().signal,
      );
    };
    await say(kit.scheduler(), "healthy");
    await say(replica, "unhealthy");
    await say(kit.scheduler(), "healthy");
    const { rows } = await kit.test.db.query("select state from instances");
    expect(rows).toEqual([{ state: "healthy" }]);
    // It turned unhealthy once: somebody should hear of it, and once.
    const told = await kit.test.db.query("select owner from events where type = $1", [
      "instance.unhealthy",
    ]);
    expect(told.rows).toEqual([{ owner: "fleet" }]);
    await replica.stop();
  });

  it("an agent whose session is newer than the restored database's is asked to register again", async () => {
    const { agent } = await kit.register();
    await kit.test.db.query("update machines set session = 0");
    await expect(kit.poll(agent, 0)).rejects.toMatchObject({ code: "machine_unknown" });
  });

  it("a lease that a newer process takes over meanwhile is not handed to the older one", async () => {
    let meanwhile = (): Promise<unknown> => Promise.resolve();
    const racing = await createSchedulerKit({
      failpoints: {
        async hit(name) {
          if (name === "control-plane.renewed") await meanwhile();
        },
      },
    });
    try {
      await racing.queueJobs(2);
      const { agent } = await racing.register();
      const [held, other] = (await racing.poll(agent, 2)).leases;
      if (held === undefined || other === undefined) throw new Error("two leases");
      // Asked anew, as another replica would. The answer that granted the other one is as good as
      // lost: it is sent again, as long as nobody else has it.
      racing.scheduler().leases.forget(agent.machineId);
      expect((await racing.poll(agent, 0, [held], 0)).leases).toEqual([
        { ...other, mode: "resume" },
      ]);
      racing.scheduler().leases.forget(agent.machineId);
      meanwhile = () => {
        meanwhile = () => Promise.resolve();
        return racing.register(agent.machineId);
      };
      expect((await racing.poll(agent, 0, [held], 0)).leases).toEqual([]);
    } finally {
      await racing.close();
    }
  });

  it("many machines that ask at once do not all claim the head of the queue", async () => {
    let claims = 0;
    const racing = await createSchedulerKit({
      failpoints: {
        hit(name) {
          if (name === "control-plane.before-claim") claims += 1;
          return Promise.resolve();
        },
      },
    });
    try {
      const agents: Agent[] = [];
      for (let at = 0; at < 12; at += 1) {
        agents.push((await racing.register(null, [], [`http://${at}`])).agent);
      }
      await racing.queueJobs(12);
      const answers = await Promise.all(agents.map((agent) => racing.poll(agent, 1, [], 1_000)));
      const jobs = new Set(answers.map(({ leases }) => racing.only(leases).jobId));
      expect(jobs.size).toBe(12);
      // Each once, but for those whose look was older than a claim that ended just now.
      expect(claims).toBeLessThan(18);
    } finally {
      await racing.close();
    }
  });

  it("an old process cannot overwrite what the new one said", async () => {
    const { agent } = await kit.register();
    const { agent: next } = await kit.register(agent.machineId);
    await kit.poll(next, 0, [], 0);
    agent.sequence += 10;
    await expect(kit.poll(agent, 0)).rejects.toMatchObject({ code: "agent_superseded" });
    const { rows } = await kit.test.db.query("select state from instances");
    expect(rows).toEqual([{ state: "healthy" }]);
  });
});

describe("poison and placement", () => {
  it("a job that takes whole machines with it is set aside at the second one", async () => {
    const [jobId] = await kit.queueJobs(1);
    await kit.scheduler().start();
    await expect
      .poll(async () => (await kit.test.db.query("select from settings")).rowCount)
      .toBe(1);
    for (const key of ["http://a", "http://b"]) {
      const { agent } = await kit.register(null, [], [key]);
      let lease: Lease | undefined;
      await expect
        .poll(async () => {
          lease ??= (await kit.poll(agent, 1, [], 100)).leases[0];
          return lease?.jobId;
        })
        .toBe(jobId);
      if (lease === undefined) throw new Error("no lease");
      await kit.renew(agent, [lease]);
      await kit.test.db.query("update machines set last_heartbeat_at = now() - interval '1 h'");
      await kit.test.db.query("update leases set lease_until = now() - interval '1 s'");
      await expect
        .poll(async () => (await kit.test.db.query("select from leases")).rowCount)
        .toBe(0);
    }
    await expect
      .poll(async () => await kit.jobRow(jobId ?? ""))
      .toMatchObject({ state: "failed", poison: true });
  });

  it("jobs that avoid an instance do not hide those behind them from it", async () => {
    await kit.queueJobs(30);
    const { agent } = await kit.register();
    const [instanceId] = agent.instanceIds;
    await kit.test.db.query(
      `update jobs set avoid_instances = array[$1] where id in (select id from jobs order by rank limit 26)`,
      [instanceId],
    );
    expect((await kit.poll(agent, 4)).leases).toHaveLength(4);
  });

  it("a job that ends its attempt during an emergency stop waits held", async () => {
    const [jobId] = await kit.queueJobs(1);
    const { agent } = await kit.register();
    const lease = kit.only((await kit.poll(agent, 1)).leases);
    await kit.test.db.query("insert into settings (key, value) values ('hold', '\"stop\"')");
    await kit.send(agent, kit.failedWith(lease, { kind: "released", reason: "drain" }));
    const { rows } = await kit.test.db.query("select state, held from jobs where id = $1", [jobId]);
    expect(rows).toEqual([{ state: "queued", held: true }]);
  });
});
