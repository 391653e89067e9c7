/** The files of a profiling, and the same in lines for a screen. */
import {
  bytesText,
  msText,
  profileReadme,
  profileReportHtml,
  shareText,
  type ProfileSummary,
} from "@holdfast/load";
import { CARDS_FILE, type MeasuredProfile } from "./measure-all.ts";
import type { ProfileFolder } from "./profile-folder.ts";

/** Writes all that can be written: what cannot is among the folder's failures. */
export async function writeProfile(
  { summary, profiles, collector }: MeasuredProfile,
  folder: ProfileFolder,
  hasSmi: boolean,
): Promise<void> {
  const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
  await folder.write("summary.json", json(summary));
  for (const profile of profiles) await folder.write(`${profile.workflow}.json`, json(profile));
  const { gpu } = collector.measured();
  const timeline = collector.timeline();
  await folder.write("report.html", profileReportHtml({ summary, profiles, timeline, gpu }));
  const files: (readonly [string, string])[] = [
    ["summary.json", "all figures, for programs"],
    ["report.html", "the same with plots; it opens without a server"],
    ...profiles.map(
      ({ workflow }) => [`${workflow}.json`, "every run of it, and its nodes"] as const,
    ),
  ];
  if (hasSmi) {
    const words =
      "timestamp, utilisation in percent, memory in MiB; a line a card, in the order of their indices";
    files.push([CARDS_FILE, words]);
  }
  const told = files.map(([name, words]) => {
    const reason = folder.failures().get(name);
    const end = reason === undefined ? "" : `; not whole, it could not be written: ${reason}`;
    return [name, `${words}${end}`] as const;
  });
  await folder.write("README.md", profileReadme(summary, told));
}

/** A line a workflow, and one for each of its slowest nodes. */
export function profileLines({ workflows }: ProfileSummary): readonly string[] {
  return workflows.flatMap(({ name, runs, coldMs, warmMs, loadShare, ...one }) => [
    `${name}: ${runs.completed} of ${runs.asked} runs, cold ${msText(coldMs)}, warm ${msText(warmMs?.mean ?? null)}, model load ${shareText(loadShare)}, peak VRAM ${bytesText(one.vramPeakBytes)}`,
    ...one.bottlenecks.map(
      ({ nodeId, classType, meanMs, share }) =>
        `  ${nodeId} ${classType}: ${msText(meanMs)}, ${shareText(share)}`,
    ),
  ]);
}
