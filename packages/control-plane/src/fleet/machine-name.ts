import { nextInt, type Random } from "@holdfast/runtime";

/** No vowels: no words come of it by chance. */
const LETTERS = "bcdfghjkmnpqrstvwxz23456789";
const SUFFIX_LENGTH = 10;

/** Whether a name is one that {@link machineName} makes here. */
export function isOurName(name: string, installation: string): boolean {
  return name.startsWith("hf-") && name.includes(`-${installation}-`);
}

/** A name that no machine had before: `hf-<pool>-<installation>-<chance>`, at most 40 characters. */
export function machineName(pool: string, installation: string, random: Random): string {
  const suffix = Array.from(
    { length: SUFFIX_LENGTH },
    () => LETTERS[nextInt(random, LETTERS.length)],
  );
  return `hf-${pool}-${installation}-${suffix.join("")}`;
}
