/**
 * Finds a smallest set of items that do not go together, by asking about sets (QuickXplain, Junker
 * 2004): with k items at fault among n it takes about k · log(n / k) questions.
 *
 * @param items - in order of preference: what is earlier is blamed less
 * @param goTogether - whether a set can be had; every part of a set that can be had can be had, too
 * @param questionsMax - after so many the set found so far is answered: it still holds a conflict
 * @returns items that cannot be had together, in their order; empty when all can
 */
export async function minimalConflict<T>(
  items: readonly T[],
  goTogether: (set: readonly T[]) => Promise<boolean>,
  questionsMax = 100,
): Promise<T[]> {
  let left = questionsMax;
  const ask = async (set: readonly T[]): Promise<boolean> => {
    // Out of questions: taken for going together, which keeps more items in the answer than needed.
    if (left <= 0) return true;
    left -= 1;
    return await goTogether(set);
  };
  const explain = async (
    background: readonly T[],
    isBackgroundNew: boolean,
    candidates: readonly T[],
  ): Promise<T[]> => {
    if (isBackgroundNew && !(await ask(background))) return [];
    if (candidates.length <= 1) return [...candidates];
    const middle = Math.floor(candidates.length / 2);
    const first = candidates.slice(0, middle);
    const second = candidates.slice(middle);
    const ofSecond = await explain([...background, ...first], first.length > 0, second);
    const ofFirst = await explain([...background, ...ofSecond], ofSecond.length > 0, first);
    return [...ofFirst, ...ofSecond];
  };
  if (items.length === 0 || (await ask(items))) return [];
  return await explain([], false, items);
}
