/** Writes one JSON object a line. `write` takes the line, `now` gives milliseconds since the epoch. */
export function createLog(write, now = Date.now) {
  const line =
    (level) =>
    (message, fields = {}) =>
      write(JSON.stringify({ time: new Date(now()).toISOString(), level, message, ...fields }) + '\n')
  return { info: line('info'), error: line('error') }
}
