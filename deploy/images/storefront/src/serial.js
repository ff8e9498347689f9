/**
 * Returns a function that runs tasks with the same key one after another, in this process. A double click on "Place
 * order" then finds the first request's result instead of changing a cart that is just being completed.
 */
export function createSerial() {
  const tails = new Map()
  return async (key, task) => {
    const before = tails.get(key) ?? Promise.resolve()
    const run = before.then(task)
    const tail = run.catch(() => {})
    tails.set(key, tail)
    try {
      return await run
    } finally {
      if (tails.get(key) === tail) tails.delete(key)
    }
  }
}
