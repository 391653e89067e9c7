import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../../test/support/test-database.ts";
import { startJobsServer, type JobsServer } from "../../testing/jobs-server.ts";

let database: TestDatabase;
let server: JobsServer;
beforeAll(async () => {
  database = await createTestDatabase();
  server = await startJobsServer(database.db);
});
afterAll(async () => {
  await server.close();
  await database.drop();
});

interface Message {
  readonly id: string;
  readonly type: string;
}

async function* read(path: string, headers: Record<string, string> = {}): AsyncGenerator<Message> {
  const abort = new AbortController();
  const response = await fetch(`http://127.0.0.1:${server.port}${path}`, {
    headers: { accept: "text/event-stream", ...headers },
    signal: abort.signal,
  });
  expect(response.headers.get("content-type")).toContain("text/event-stream");
  const decoder = new TextDecoder();
  let text = "";
  try {
    for await (const chunk of response.body ?? []) {
      text += decoder.decode(chunk, { stream: true });
      for (let end = text.indexOf("\n\n"); end !== -1; end = text.indexOf("\n\n")) {
        const block = text.slice(0, end);
        text = text.slice(end + 2);
        const id = /^id: (.*)$/m.exec(block)?.[1];
        const type = /^event: (.*)$/m.exec(block)?.[1];
        if (id !== undefined && type !== undefined) yield { id, type };
      }
    }
  } finally {
    abort.abort();
  }
}

async function all(messages: AsyncIterable<Message>): Promise<Message[]> {
  const found: Message[] = [];
  for await (const message of messages) found.push(message);
  return found;
}

describe("streams", () => {
  test("a job's stream tells everything from its first event and ends with the job", async () => {
    const job = await server.submit();
    const path = `/api/v1/jobs/${job.id}/events`;
    const whole = all(read(path));
    await server.complete(job);
    const messages = await whole;
    expect(messages.map(({ type }) => type)).toEqual(["job.queued", "job.completed"]);
    const last = messages.at(-1)?.id ?? "";
    expect(await all(read(path))).toEqual(messages);
    expect(await all(read(path, { "last-event-id": messages[0]?.id ?? "" }))).toEqual([
      messages[1],
    ]);
    expect(await all(read(path, { "last-event-id": last }))).toEqual([]);
  });

  test("a stream survives an end that a retry took back", async () => {
    const job = await server.submit();
    await server.call("POST", `/api/v1/jobs/${job.id}/cancel`);
    await server.call("POST", `/api/v1/jobs/${job.id}/retry`);
    await server.complete(job);
    const types = (await all(read(`/api/v1/jobs/${job.id}/events`))).map(({ type }) => type);
    expect(types).toEqual(["job.queued", "job.cancelled", "job.redriven", "job.completed"]);
  });

  test("the stream of everything shows a caller its own events, and goes on where it was left", async () => {
    const first = await server.submit({}, { "x-caller": "root" });
    const mine = read("/api/v1/events?types=job.queued,job.cancelled");
    const next = mine.next();
    // The stream begins at an unknown instant after the request: submit until it was heard.
    const heardFirst = new AbortController();
    void next.then(() => heardFirst.abort());
    while (!heardFirst.signal.aborted) {
      await server.submit({}, { "x-caller": "root" });
      await server.submit();
    }
    const heard = (await next).value as Message;
    const { rows } = await database.db.query<{ owner: string }>(
      "select owner from events where id = $1",
      [heard.id],
    );
    expect(rows).toEqual([{ owner: "key_ann" }]);
    await mine.return(undefined);
    const later = await server.submit({ batchId: "resumed" });
    const resumed = read(`/api/v1/events?batchId=resumed&lastEventId=${heard.id}`);
    const { value } = (await resumed.next()) as { value: Message };
    await resumed.return(undefined);
    const told = await database.db.query("select job_id from events where id = $1", [value.id]);
    expect(told.rows).toEqual([{ job_id: later.id }]);
    expect(first.owner).toBe("local");
  });
});
