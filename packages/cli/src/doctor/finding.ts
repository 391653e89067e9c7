/** What a check of this machine came to. */
export interface Finding {
  readonly name: string;
  /** `fail`: Holdfast cannot run like this; `warn`: something will not work, or not well. */
  readonly state: "ok" | "warn" | "fail";
  readonly found: string;
  /** What to do about it. */
  readonly fix?: string;
}
