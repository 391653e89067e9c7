import type { AttemptReport, Lease } from "@holdfast/contract";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createSchedulerKit, type SchedulerKit } from "../../testing/scheduler-kit.ts";
import { createMachinesService } from "../machines/service.ts";

let kit: SchedulerKit;
beforeAll(async () => {
  kit = await createSchedulerKit();
});
afterAll(() => kit.close());
beforeEach(() => kit.reset());

describe("claiming", () => {
  it("gives each queued job to exactly one of many concurrent agents", async () => {
    const jobs = await kit.queueJobs(60);
    const agents = await Promise.all(
      Array.from({ length: 8 }, async () => (await kit.register(null)).agent),
    );
    const held = agents.map((): Lease[] => []);
    const count = (): number => held.flat().length;
    for (let round = 0; round < 20 && count() < jobs.length; round += 1) {
      const answers = await Promise.all(agents.map((agent, at) => kit.poll(agent, 2, held[at], 0)));
      for (const [at, answer] of answers.entries()) held[at]?.push(...answer.leases);
    }
    const seen = held.flat().map((lease) => lease.jobId);
    expect([...seen].sort()).toEqual([...jobs].sort());
    const leases = await kit.test.db.query("select distinct prompt_id from attempts");
    expect(leases.rowCount).toBe(jobs.length);
  });

  it("passes by jobs that wait for another instance, however many there are", async () => {
    const jobs = await kit.queueJobs(40);
    await kit.test.db.query(
      `update jobs set prefer_instance = 'ins_other', prefer_until = now() + interval '10 s'
       where id = any($1::text[])`,
      [jobs.slice(0, 30)],
    );
    const { agent } = await kit.register();
    const lease = kit.only((await kit.poll(agent, 1)).leases);
    expect(jobs.slice(30)).toContain(lease.jobId);
  });

  it("builds the graph from template and patch and names the prompt id on disk", async () => {
    const [jobId] = await kit.queueJobs(1);
    const { agent } = await kit.register();
    const lease = kit.only((await kit.poll(agent, 1)).leases);
    expect(lease.jobId).toBe(jobId);
    expect(lease.graph).toEqual({ "2": { class_type: "SaveImage", inputs: { seed: 7 } } });
    const { rows } = await kit.test.db.query<{ prompt_id: string }>(
      "select prompt_id from attempts",
    );
    expect(rows).toEqual([{ prompt_id: lease.promptId }]);
  });

  it("wakes a waiting poll when a job is queued", async () => {
    const { agent } = await kit.register();
    const waiting = kit.poll(agent, 1, [], 5_000);
    await expect.poll(() => agent.sequence).toBe(1);
    await kit.queueJobs(1);
    expect((await waiting).leases).toHaveLength(1);
  });

  it("gives a job to an idle instance before one that runs something, in one poll", async () => {
    const { agent } = await kit.register(null, [], ["http://a", "http://b"]);
    await kit.queueJobs(1);
    const first = kit.only((await kit.poll(agent, 1)).leases);
    for (const held of [[first], [first]]) {
      await kit.queueJobs(1);
      const next = kit.only((await kit.poll(agent, 1, held)).leases);
      expect(next.instanceId).not.toBe(first.instanceId);
      await kit.storeBlob();
      await kit.send(agent, kit.succeeded(next));
    }
  });

  it("gives a job to an idle machine before one that runs something and has waited for longer", async () => {
    const busy = (await kit.register()).agent;
    await kit.queueJobs(1);
    const { leases } = await kit.poll(busy, 1);
    const staging = kit.poll(busy, 1, leases, 300);
    await expect.poll(() => kit.scheduler().waitingPolls()).toBe(1);
    const idle = (await kit.register()).agent;
    const waiting = kit.poll(idle, 2, [], 300);
    await expect.poll(() => kit.scheduler().waitingPolls()).toBe(2);
    const [jobId] = await kit.queueJobs(1);
    expect(kit.only((await waiting).leases).jobId).toBe(jobId);
    expect((await staging).leases).toEqual([]);
  });

  it("stages a job that is left to an idle machine which does not take it, after a moment", async () => {
    const busy = (await kit.register()).agent;
    await kit.queueJobs(1);
    const { leases } = await kit.poll(busy, 1);
    const idle = (await kit.register()).agent;
    const waiting = kit.poll(idle, 1, [], 300);
    await expect.poll(() => kit.scheduler().waitingPolls()).toBe(1);
    // It is served no more, and its poll does not know yet.
    await kit.test.db.query("update instances set cordoned = true where machine_id = $1", [
      idle.machineId,
    ]);
    const [jobId] = await kit.queueJobs(1);
    await kit.test.db.query("update jobs set created_at = now() - interval '1 second'");
    expect(kit.only((await kit.poll(busy, 1, leases)).leases).jobId).toBe(jobId);
    expect((await waiting).leases).toEqual([]);
  });

  it("sends a lease again whose answer was lost, with the same epoch and prompt id", async () => {
    await kit.queueJobs(1);
    const { agent } = await kit.register();
    const lost = kit.only((await kit.poll(agent, 1)).leases);
    let again: readonly Lease[] = [];
    await expect
      .poll(async () => (again = (await kit.poll(agent, 0)).leases).length, { timeout: 5_000 })
      .toBe(1);
    expect(again).toEqual([{ ...lost, mode: "resume" }]);
  });

  it("gives nothing to an instance that is cordoned", async () => {
    await kit.queueJobs(1);
    const { agent } = await kit.register();
    await kit.poll(agent, 0, [], 0);
    const [instanceId] = agent.instanceIds;
    await createMachinesService(kit.test.db).setCordon(instanceId ?? "", true);
    expect((await kit.poll(agent, 1, [], 0)).leases).toEqual([]);
  });

  it("renews nothing by a poll that brings nothing new a moment after another, and says so", async () => {
    await kit.queueJobs(1);
    const { agent } = await kit.register();
    const first = await kit.poll(agent, 1);
    expect(first.renewed).toBe(true);
    await kit.test.db.query("update leases set lease_until = now() + interval '1 hour'");
    const second = await kit.poll(agent, 1, first.leases, 0);
    expect(second).toMatchObject({ renewed: false, leases: [], revoked: [] });
    const { rows } = await kit.test.db.query(
      "select from leases where lease_until > now() + interval '50 minutes'",
    );
    expect(rows).toHaveLength(1);
  });

  it("lets a poll that waits neither renew nor report again what it said at its beginning", async () => {
    await kit.queueJobs(1);
    const { agent } = await kit.register();
    const { leases } = await kit.poll(agent, 1);
    const waiting = kit.poll(agent, 0, leases, 1_000);
    await expect.poll(() => kit.scheduler().waitingPolls()).toBe(1);
    // Meanwhile a renewal has told more, and another replica has heard a newer state.
    await kit.test.db.query(
      "update leases set phase = 'collecting', lease_until = now() + interval '1 hour'",
    );
    await kit.test.db.query("update instances set state = 'unhealthy', reason = 'newer'");
    kit.scheduler().revoked(agent.machineId);
    await waiting;
    const { rows } = await kit.test.db.query(
      `select phase, lease_until > now() + interval '50 minutes' as "isKept", state, reason
       from leases, instances`,
    );
    expect(rows).toEqual([
      { phase: "collecting", isKept: true, state: "unhealthy", reason: "newer" },
    ]);
  });

  it("gives nothing on an instance cordoned, or under a session ended, since the last heartbeat", async () => {
    const { agent } = await kit.register();
    await kit.poll(agent, 1, [], 0);
    await kit.test.db.query("update instances set cordoned = true");
    await kit.queueJobs(1);
    expect((await kit.poll(agent, 1, [], 0)).leases).toEqual([]);
    await kit.test.db.query("update instances set cordoned = false");
    const { agent: other } = await kit.register();
    await kit.poll(other, 0, [], 0);
    // Another replica has registered a newer process of this machine.
    await kit.test.db.query("update machines set session = session + 1");
    await expect(kit.poll(other, 1, [], 0)).rejects.toMatchObject({ code: "agent_superseded" });
    expect((await kit.test.db.query("select from leases")).rowCount).toBe(0);
  });

  it("waits for a registration under way, and claims nothing for the session it ends", async () => {
    const { agent } = await kit.register();
    await kit.poll(agent, 1, [], 0);
    await kit.queueJobs(1);
    let late: Promise<unknown> | undefined;
    await kit.test.db.transaction(async (tx) => {
      await tx.query("update machines set session = session + 1");
      late = kit.poll(agent, 1, [], 0).catch((error: unknown) => error);
      await expect
        .poll(async () => {
          const { rows } = await kit.test.db.query<{ waits: boolean }>(
            "select exists (select from pg_locks where not granted) as waits",
          );
          return rows[0]?.waits;
        })
        .toBe(true);
    });
    expect(await late).toMatchObject({ code: "agent_superseded" });
    expect((await kit.test.db.query("select from leases")).rowCount).toBe(0);
  });

  it("gives nothing to an instance that lacks the model, and says so", async () => {
    const [jobId] = await kit.queueJobs(1, {
      needs: { nodeClasses: [], models: [{ folder: "checkpoints", name: "flux.safetensors" }] },
    });
    const { agent } = await kit.register();
    expect((await kit.poll(agent, 1, [], 0)).leases).toEqual([]);
    await kit.scheduler().start();
    await expect
      .poll(async () => {
        const { rows } = await kit.test.db.query<{ reason: string | null }>(
          `select r.waiting_reason as reason from jobs j join requirements r on r.id = j.requirement_id
           where j.id = $1`,
          [jobId],
        );
        return rows[0]?.reason;
      })
      .toBe("no machine has model checkpoints/flux.safetensors");
  });
});

describe("reports", () => {
  it("completes a job once, and answers the same report again with the same word", async () => {
    await kit.storeBlob();
    const [jobId] = await kit.queueJobs(1);
    const { agent } = await kit.register();
    const lease = kit.only((await kit.poll(agent, 1)).leases);
    const first = await kit.send(agent, kit.succeeded(lease));
    const second = await kit.send(agent, kit.succeeded(lease));
    expect([first, second].map((answer) => answer.answers[0]?.result)).toEqual([
      "recorded",
      "recorded",
    ]);
    expect(await kit.jobRow(jobId ?? "")).toMatchObject({ state: "completed", output_count: 1 });
    const events = await kit.test.db.query("select from events where type = 'job.completed'");
    expect(events.rowCount).toBe(1);
    expect((await kit.test.db.query("select from leases")).rowCount).toBe(0);
  });

  it("asks for outputs that are not in the store instead of completing", async () => {
    const [jobId] = await kit.queueJobs(1);
    const { agent } = await kit.register();
    const lease = kit.only((await kit.poll(agent, 1)).leases);
    await kit.test.db.query("delete from blobs");
    const { answers } = await kit.send(agent, kit.succeeded(lease));
    expect(answers).toEqual([
      { attemptId: lease.attemptId, result: "outputs_missing", missing: [kit.sha] },
    ]);
    expect(await kit.jobRow(jobId ?? "")).toMatchObject({ state: "processing" });
  });

  it("never completes a job whose promised output is missing", async () => {
    const [jobId] = await kit.queueJobs(1);
    const { agent } = await kit.register();
    const lease = kit.only((await kit.poll(agent, 1)).leases);
    await kit.send(agent, kit.failedWith(lease, { kind: "succeeded", outputs: [] }));
    const job = await kit.jobRow(jobId ?? "");
    expect(job.state).not.toBe("completed");
    const { rows } = await kit.test.db.query<{ outcome: string }>("select outcome from attempts");
    expect(rows).toEqual([{ outcome: "failed" }]);
  });

  it("refuses a report under an epoch that has passed", async () => {
    await kit.storeBlob();
    await kit.queueJobs(1);
    const { agent } = await kit.register();
    const lease = kit.only((await kit.poll(agent, 1)).leases);
    const { answer } = await kit.register(agent.machineId);
    expect(kit.only(answer.leases)).toMatchObject({
      mode: "resume",
      leaseEpoch: lease.leaseEpoch + 1,
    });
    const { answers } = await kit.send(agent, kit.succeeded(lease));
    expect(answers[0]?.result).toBe("lease_lost");
    await expect(kit.poll(agent, 1)).rejects.toMatchObject({ code: "agent_superseded" });
  });

  it("fails a job at once whose graph is wrong everywhere", async () => {
    const [jobId] = await kit.queueJobs(1);
    const { agent } = await kit.register();
    const lease = kit.only((await kit.poll(agent, 1)).leases);
    await kit.send(
      agent,
      kit.failedWith(lease, {
        kind: "failed",
        evidence: {
          channel: "validation",
          message: "Value 9 bigger than max of 8",
          validationType: "value_bigger_than_max",
          nodeId: "2",
        },
        outputs: [],
      }),
    );
    expect(await kit.jobRow(jobId ?? "")).toMatchObject({ state: "failed", poison: false });
  });

  it("sets a job aside as poison after two different instances died under it", async () => {
    const [jobId] = await kit.queueJobs(1);
    const { agent } = await kit.register(null, [], ["http://a", "http://b"]);
    const died: AttemptReport["outcome"] = {
      kind: "instance_died",
      evidence: { channel: "process_exit", message: "the process ended" },
    };
    const first = kit.only((await kit.poll(agent, 1)).leases);
    await kit.send(agent, kit.failedWith(first, died));
    await kit.scheduler().start();
    let second: Lease | undefined;
    await expect
      .poll(async () => {
        second = (await kit.poll(agent, 1, [], 100)).leases[0];
        return second?.instanceId;
      })
      .toBe(agent.instanceIds.find((id) => id !== first.instanceId));
    if (second === undefined) throw new Error("no second lease");
    await kit.send(agent, kit.failedWith(second, died));
    expect(await kit.jobRow(jobId ?? "")).toMatchObject({ state: "failed", poison: true });
  });

  it("never blames a staged attempt for its instance's death", async () => {
    const [jobId] = await kit.queueJobs(1);
    const { agent } = await kit.register(null, [], ["http://a", "http://b"]);
    for (let round = 0; round < 3; round += 1) {
      const lease = kit.only((await kit.poll(agent, 1)).leases);
      await kit.send(agent, {
        ...kit.failedWith(lease, {
          kind: "instance_died",
          evidence: { channel: "process_exit", message: "the process ended" },
        }),
        started: false,
      });
    }
    expect(await kit.jobRow(jobId ?? "")).toMatchObject({ state: "queued", poison: false });
  });
});

describe("leases that run out", () => {
  it("queue the job again at no cost, and the old holder can write nothing", async () => {
    await kit.storeBlob();
    const [jobId] = await kit.queueJobs(1);
    const { agent } = await kit.register();
    const lease = kit.only((await kit.poll(agent, 1)).leases);
    await kit.scheduler().start();
    await expect
      .poll(async () => (await kit.jobRow(jobId ?? "")).state, { timeout: 2_000 })
      .toBe("processing");
    await kit.test.db.query("update leases set lease_until = now() - interval '1 s'");
    await expect
      .poll(async () => (await kit.jobRow(jobId ?? "")).state, { timeout: 5_000 })
      .toBe("queued");
    const { answers } = await kit.send(agent, kit.succeeded(lease));
    expect(answers[0]?.result).toBe("lease_lost");
    const { rows } = await kit.test.db.query<{ outcome: string }>("select outcome from attempts");
    expect(rows).toEqual([{ outcome: "lease_lost" }]);
  });

  it("are prolonged once when nobody watched them for a while", async () => {
    const [jobId] = await kit.queueJobs(1);
    const { agent } = await kit.register();
    const lease = kit.only((await kit.poll(agent, 1)).leases);
    await kit.test.db.query("update leases set lease_until = now() - interval '1 h'");
    await kit.test.db.query(
      `insert into settings (key, value)
       values ('scheduler.last_reconcile', to_jsonb(extract(epoch from now()) - 3600))`,
    );
    await kit.scheduler().start();
    await expect
      .poll(async () => {
        const { rows } = await kit.test.db.query<{ alive: boolean }>(
          "select lease_until > now() as alive from leases where job_id = $1",
          [jobId],
        );
        return rows[0]?.alive;
      })
      .toBe(true);
    const renewed = await kit.scheduler().leases.renew({
      machineId: agent.machineId,
      session: agent.session,
      held: [
        {
          attemptId: lease.attemptId,
          jobId: lease.jobId,
          leaseEpoch: lease.leaseEpoch,
          phase: "running",
          progress: null,
        },
      ],
    });
    expect(renewed.revoked).toEqual([]);
  });

  it("are given back to the agent that still has the prompt, when nobody started it anew", async () => {
    const [jobId] = await kit.queueJobs(1);
    const { agent } = await kit.register();
    const lease = kit.only((await kit.poll(agent, 1)).leases);
    await kit.scheduler().start();
    await expect
      .poll(async () => (await kit.test.db.query("select from settings")).rowCount)
      .toBe(1);
    await kit.test.db.query("update leases set lease_until = now() - interval '1 s'");
    await expect.poll(async () => (await kit.jobRow(jobId ?? "")).state).toBe("queued");
    const { answer } = await kit.register(agent.machineId, [lease.promptId, "a-stranger"]);
    expect(kit.only(answer.leases)).toMatchObject({
      attemptId: lease.attemptId,
      promptId: lease.promptId,
      mode: "resume",
    });
    expect(answer.discard).toEqual([{ key: "http://127.0.0.1:8188", promptId: "a-stranger" }]);
    expect(await kit.jobRow(jobId ?? "")).toMatchObject({ state: "processing", attempt_count: 1 });
  });
});
