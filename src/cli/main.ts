#!/usr/bin/env node
import { VERSION } from '../version.js';
import { print } from './standard-output.js';

const argv = process.argv.slice(2);
if (argv.length === 1 && (argv[0] === '--version' || argv[0] === '-V')) {
  // the one answer that needs nothing else of the program
  print.stdout.write(`${VERSION}\n`);
} else {
  void import('./process.js').then(({ runProcess }) => runProcess(argv));
}
