/** What a real MLflow has, by its REST API: never what our own client believes. */
import { expect } from "vitest";

/** A run as `runs/search` tells it. */
export interface MlflowRun {
  readonly info: {
    readonly run_id: string;
    readonly run_name: string;
    readonly status: string;
    readonly experiment_id: string;
  };
  readonly data: {
    readonly params?: readonly { readonly key: string; readonly value: string }[];
    readonly tags?: readonly { readonly key: string; readonly value: string }[];
    readonly metrics?: readonly { readonly key: string; readonly value: number | string }[];
  };
}

/** One value of a metric. */
export interface MlflowMetric {
  readonly value: number;
  readonly step: number;
  readonly timestamp: number;
}

/** Runs of a page. */
const PAGE_SIZE = 100;

/** Reads one server. */
export function mlflowReader(url: string) {
  const reader = {
    async call<T>(path: string, body?: unknown): Promise<T> {
      const answer = await fetch(`${url}/api/2.0/mlflow/${path}`, {
        method: body === undefined ? "GET" : "POST",
        headers: { "content-type": "application/json" },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
      return (await answer.json()) as T;
    },
    async experimentId(name: string): Promise<string> {
      const query = `experiment_name=${encodeURIComponent(name)}`;
      const found = await reader.call<{ experiment: { experiment_id: string } }>(
        `experiments/get-by-name?${query}`,
      );
      return found.experiment.experiment_id;
    },
    /** All runs of an experiment by their names, of which none may be there twice. */
    async runs(experiment: string): Promise<ReadonlyMap<string, MlflowRun>> {
      const ids = { experiment_ids: [await reader.experimentId(experiment)] };
      const found: MlflowRun[] = [];
      for (let page: string | undefined = ""; page !== undefined;) {
        const body = { ...ids, max_results: PAGE_SIZE, ...(page !== "" && { page_token: page }) };
        const answer: { runs?: MlflowRun[]; next_page_token?: string } = await reader.call(
          "runs/search",
          body,
        );
        found.push(...(answer.runs ?? []));
        page = answer.next_page_token;
      }
      const byName = new Map(found.map((run) => [run.info.run_name, run]));
      expect(byName.size).toBe(found.length);
      return byName;
    },
    /** Every value that a metric of a run had, in the order of its instants. */
    async history(runId: string, metric: string): Promise<readonly MlflowMetric[]> {
      const query = new URLSearchParams({ run_id: runId, metric_key: metric }).toString();
      const { metrics = [] } = await reader.call<{
        metrics?: { value: number; step?: number | string; timestamp: number | string }[];
      }>(`metrics/get-history?${query}`);
      return metrics
        .map(({ value, step = 0, timestamp }) => ({
          value,
          step: Number(step),
          timestamp: Number(timestamp),
        }))
        .toSorted((a, b) => a.timestamp - b.timestamp);
    },
    /** Paths of a run's files, folders followed. */
    async artifacts(runId: string, path = ""): Promise<readonly string[]> {
      const inside = path === "" ? "" : `&path=${encodeURIComponent(path)}`;
      const { files = [] } = await reader.call<{ files?: { path: string; is_dir: boolean }[] }>(
        `artifacts/list?run_id=${runId}${inside}`,
      );
      const lists = files.map(async (one) =>
        one.is_dir ? await reader.artifacts(runId, one.path) : [one.path],
      );
      return (await Promise.all(lists)).flat();
    },
    /** The bytes of one, as MLflow's page fetches it. */
    async artifact(runId: string, path: string): Promise<Buffer> {
      const query = `path=${encodeURIComponent(path)}&run_uuid=${runId}`;
      const answer = await fetch(`${url}/get-artifact?${query}`);
      if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
      return Buffer.from(await answer.arrayBuffer());
    },
  };
  return reader;
}
