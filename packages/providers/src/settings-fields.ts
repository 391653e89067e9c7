/**
 * Parts of the settings that a person writes for a provider. Each says in its own words what was
 * expected, so that nothing of zod's texts is shown.
 */
import { z } from "zod";

const TEXT_MAX = 4_096;

/** A text that is not empty. */
export const text = (max = TEXT_MAX) => {
  const error = `expected a text of 1 to ${max} characters`;
  return z.string({ error }).min(1, error).max(max, error);
};

/** A text of a form; `words` begin with "expected". */
export const textLike = (form: RegExp, words: string, max = TEXT_MAX) =>
  z.string({ error: words }).max(max, words).regex(form, words);

/** One of a few words. */
export const oneOf = <const Words extends readonly [string, ...string[]]>(words: Words) =>
  z.enum(words, { error: `expected ${words.join(" or ")}` });

/** A whole number. */
export const wholeNumber = (min: number, max: number) => {
  const error = `expected a whole number, ${min} to ${max}`;
  return z.int({ error }).min(min, error).max(max, error);
};

/** A list of texts that are not empty. */
export const texts = (least: number, most: number) => {
  const error = `expected a list of ${least} to ${most} texts`;
  return z.array(text(), { error }).min(least, error).max(most, error);
};

/** An absolute path. */
export const absolutePath = textLike(/^\/[^\0]*$/, "expected an absolute path", 1_024);
