/** The longest that a timer of Node can be set to, in milliseconds: a longer one would fire at once. */
export const longestTimerMs = 2 ** 31 - 1;
