/** `holdfast experiment run --store` on a real S3 server: every picture there, and nothing rendered for one that takes none. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { readBlob } from "../../packages/control-plane/testing/blob-store-contract.ts";
import { makeBucketAgain, removeBucket } from "../../packages/control-plane/testing/s3-buckets.ts";
import {
  keysIn,
  makeBucket,
  storeOn,
} from "../../packages/control-plane/testing/s3-store-contract.ts";
import {
  experimentGround,
  type ExperimentGround,
  type Said,
} from "../support/experiment-ground.ts";
import { until } from "../support/processes.ts";
import { startS3Server, type S3Server } from "./s3-server.ts";
import { describeOnEachServer } from "./s3-servers.ts";

describeOnEachServer("experiment run --store", (name, program) => {
  let server: S3Server;
  let bucket: string;
  let ground: ExperimentGround;
  beforeEach(async () => {
    server = await startS3Server(name, program);
    bucket = await makeBucket(server);
    ground = await experimentGround();
  });
  afterEach(async () => {
    await ground.close();
    server.resume();
    await server.close();
  });

  const env = (secret = server.secretAccessKey) => ({
    HOLDFAST_S3_ENDPOINT: server.endpoint,
    HOLDFAST_S3_ACCESS_KEY_ID: server.accessKeyId,
    HOLDFAST_S3_SECRET_ACCESS_KEY: secret,
  });
  const on = (url: string, ...args: readonly string[]) => [...args, "--store", url];
  const keyOf = (sha256: string): string =>
    `castle/${sha256.slice(0, 2)}/${sha256.slice(2, 4)}/${sha256}`;
  /** Every completed run's picture is in the bucket, where its line says, with the folder's bytes. */
  const expectAllThere = async (count: number): Promise<void> => {
    const done = ground.records().filter(({ status }) => status === "completed");
    expect(new Set(done.map(({ index }) => index)).size).toBe(count);
    const outputs = done.flatMap((one) => one.outputs);
    expect(outputs).toHaveLength(count);
    const keys = await keysIn(server, bucket);
    const store = await storeOn(server, `s3://${bucket}/castle`);
    for (const { stored, sha256, url } of outputs) {
      const bytes = readFileSync(join(ground.results(), stored));
      expect(createHash("sha256").update(bytes).digest("hex")).toBe(sha256);
      expect(url).toBe(`s3://${bucket}/${keyOf(sha256)}`);
      expect(keys).toContain(keyOf(sha256));
      expect(Buffer.from(await readBlob(store, sha256)).equals(bytes)).toBe(true);
    }
    await store.close();
  };
  const expectNothingRendered = ({ code, output }: Said): void => {
    expect(code).toBe(2);
    expect(output).toContain("Nothing was rendered");
    expect(output).not.toContain("exp_0000");
    expect(ground.count()).toBe(0);
  };

  it("has every picture under its SHA-256, after a check that finds it well", async () => {
    const one = await ground.run(
      on(`s3://${bucket}/castle`, "--count", "12", "--pre-flight"),
      env(),
    );
    expect(one.output).toContain("[OK] ComfyUI is healthy\n[OK] MinIO is healthy\n");
    expect(one.code).toBe(0);
    await expectAllThere(12);
  });

  it("without such a bucket says so before anything is rendered", async () => {
    const url = `s3://${bucket}-none/castle`;
    const one = await ground.run(on(url, "--count", "12", "--pre-flight"), env());
    expect(one.output).toContain(`--store: ${url}/: there is no such bucket`);
    expectNothingRendered(one);
  });

  it("that refuses the key says so before anything is rendered, and the key is nowhere", async () => {
    const one = await ground.run(
      on(`s3://${bucket}/castle`, "--count", "12", "--pre-flight"),
      env("not-the-secret"),
    );
    expect(one.output).toMatch(/--store: s3:\/\/\S+ .*credentials/);
    expectNothingRendered(one);
    expect(one.output).not.toContain("not-the-secret");
  });

  it("that nothing listens for says so before anything is rendered, without any check", async () => {
    await server.kill();
    const one = await ground.run(on(`s3://${bucket}/castle`, "--count", "12"), env());
    expect(one.output).toMatch(/--store: s3:\/\/\S+ the connection was refused/);
    expectNothingRendered(one);
  });

  it("that refuses the key says so without any check as well, at once and once", async () => {
    const begun = Date.now();
    const one = await ground.run(
      on(`s3://${bucket}/castle`, "--count", "12"),
      env("not-the-secret"),
    );
    expect(one.output.match(/credentials/g)).toHaveLength(1);
    expectNothingRendered(one);
    expect(Date.now() - begun).toBeLessThan(5_000);
    // The SDK's own about this Node.
    expect(one.output).not.toContain("NodeVersionSupportWarning");
  });

  it.skipIf(name !== "versitygw")("that may only be read says so without any check", async () => {
    await server.kill();
    // MinIO has no such word: a key that may only read needs its own administration.
    await server.start(["--readonly"]);
    const one = await ground.run(on(`s3://${bucket}/castle`, "--count", "12"), env());
    expect(one.output).toMatch(/--store: s3:\/\/\S+ our credentials may not do this \(403\)/);
    expectNothingRendered(one);
  });

  it("that loses its bucket stops the experiment with the cause, and how to go on", async () => {
    const args = on(`s3://${bucket}/castle`, "--count", "300");
    const one = ground.begin(args, env());
    await one.saw("exp_0004");
    // Else it writes as quickly as somebody removes.
    process.kill(one.pid, "SIGSTOP");
    const remove = (): Promise<true> => removeBucket(server, bucket).then(() => true);
    await until("the bucket is gone", remove, 20_000);
    process.kill(one.pid, "SIGCONT");
    expect(await one.exited).toBe(2);
    const said = one.output();
    expect(said).toContain(
      `stopped, for no other one would do better: outputs cannot be stored: s3://${bucket}/castle/: there is no such bucket`,
    );
    expect(said).toContain("go on once that is put right: holdfast experiment run ");
    expect(said).not.toContain("a service is down");
    // The one that was refused, and what was in flight beside it.
    const failed = ground.records().filter(({ status }) => status === "failed");
    expect(failed.length).toBeLessThanOrEqual(2);
    expect(failed[0]?.error).toMatchObject({ class: "auth_error", isRefusal: true });
    const before = ground.count();
    expect(before).toBeLessThan(300);

    await makeBucketAgain(server, bucket);
    const again = await ground.run([...args, "--resume"], env());
    expect(again.code).toBe(0);
    expect(again.output).toContain("300 of 300 experiments completed");
    expect(ground.count()).toBeLessThanOrEqual(300 + failed.length);
  });

  it("that stands still fails the checks before anything is rendered", async () => {
    server.pause();
    const one = await ground.run(
      on(`s3://${bucket}/castle`, "--count", "12", "--pre-flight"),
      env(),
    );
    expect(one.code).toBe(3);
    expect(one.output).toContain(
      "[OK] ComfyUI is healthy\n[ERROR] MinIO health check timed out after 5s",
    );
    expect(one.output).toContain("  - MinIO: MinIO health check timed out after 5s");
    expect(ground.count()).toBe(0);
  });

  it("that dies stops the experiment, and has everything once it went on", async () => {
    const args = on(`s3://${bucket}/castle`, "--count", "9");
    const checked = { ...env(), PERIODIC_HEALTH_CHECK_INTERVAL: "3" };
    const one = ground.begin(args, checked);
    await one.saw("exp_0002");
    await server.kill();
    expect(await one.exited).toBe(4);
    expect(one.output()).toContain("  - MinIO: Cannot connect to MinIO server");
    const [, startFrom = ""] = /Use --start-from (\d+) to resume/.exec(one.output()) ?? [];
    await server.start();
    const again = await ground.run([...args, "--start-from", startFrom], checked);
    expect(again.code).toBe(0);
    await expectAllThere(9);
  });
});
