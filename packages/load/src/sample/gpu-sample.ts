/** One look at one card while a run went on. */
export interface GpuSample {
  /** ms since the run's start. */
  readonly atMs: number;
  /** Its index on its host. */
  readonly gpu: number;
  /** 0 to 100; null where the source does not tell: unknown is never zero. */
  readonly utilisationPercent: number | null;
  /** MiB, as `nvidia-smi` counts; null where the source does not tell. */
  readonly memoryUsedMb: number | null;
  /** ComfyUI's `system_stats` knows memory alone. */
  readonly source: "nvidia-smi" | "system_stats";
}
