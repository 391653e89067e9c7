/** Recorded output of nvidia-smi: see nvidia-smi/README.md for where each comes from. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** Folder of the recordings. */
export const SMI_FIXTURES = fileURLToPath(new URL("nvidia-smi", import.meta.url));

/** A recording as text. */
export function smiFixture(name: string): string {
  return readFileSync(`${SMI_FIXTURES}/${name}`, "utf8");
}

/** A run that printed this, exit code 0 unless said otherwise. */
export function smiRun(
  stdout: string,
  rest: { readonly exitCode?: number; readonly stderr?: string } = {},
): {
  readonly ended: "exited";
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
} {
  return { ended: "exited", exitCode: rest.exitCode ?? 0, stdout, stderr: rest.stderr ?? "" };
}
