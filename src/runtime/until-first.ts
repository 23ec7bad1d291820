/**
 * Runs all tasks until the first ends or `signal` aborts, then aborts the others and waits for them. Rejects with the first failure that
 * is not merely the abort. Begins none when `signal` has aborted already.
 */
export async function untilFirst(
  signal: AbortSignal,
  tasks: readonly ((signal: AbortSignal) => Promise<void>)[],
): Promise<void> {
  // Nobody would tell a task that waits for nothing but the abort.
  if (signal.aborted) return;
  const controller = new AbortController();
  const forward = () => controller.abort(signal.reason);
  signal.addEventListener("abort", forward, { once: true });
  const failures: unknown[] = [];
  const run = async (task: (signal: AbortSignal) => Promise<void>) => {
    try {
      await task(controller.signal);
    } catch (error) {
      if (!controller.signal.aborted) failures.push(error);
    } finally {
      controller.abort();
    }
  };
  await Promise.all(tasks.map(run));
  signal.removeEventListener("abort", forward);
  if (failures.length > 0) throw failures[0];
}
