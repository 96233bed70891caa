type Close = () => unknown;

const tests: Close[] = [];
const files: Close[] = [];

/** Runs `close` after the test, the last one first. */
export const afterTest = (close: Close): void => void tests.push(close);

/** Runs `close` after the last test of the file. */
export const afterFile = (close: Close): void => void files.push(close);

async function run(closers: Close[]): Promise<void> {
  for (const close of closers.splice(0).reverse()) await close();
}

/** Runs what `afterTest` was given; `setup.ts` calls it. */
export const closeTest = (): Promise<void> => run(tests);
/** Runs what `afterFile` was given; `setup.ts` calls it. */
export const closeFile = (): Promise<void> => run(files);
