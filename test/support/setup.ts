import { afterAll, afterEach } from 'vitest';
import { closeFile, closeTest } from './after-test.js';

/*
 * Runs before each test file. A hook at the top of any other shared module would count for the first file only that
 * loads it, since the files of a worker share their modules.
 */

afterEach(closeTest);
afterAll(closeFile);
