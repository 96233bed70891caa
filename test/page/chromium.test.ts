import { comparing } from './compare.js';
import { creating } from './create.js';
import { isolation } from './isolation.js';
import { library } from './library.js';
import { signing } from './sign.js';
import { inBrowser } from './support.js';

inBrowser('Chromium', (world) => {
  creating(world);
  comparing(world);
  signing(world);
  isolation(world);
  library(world);
});
