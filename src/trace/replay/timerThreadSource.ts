/**
 * What runs inside an alarm's thread, as CommonJS text: the same under vitest and inside any bundle.
 * `due` is the time to wake at in milliseconds of this thread's clock (Infinity: never, -1: quit);
 * `version` grows after every change of it, and is what the thread sleeps on.
 */
export const timerThreadSource = `
'use strict'
const { parentPort, workerData } = require('node:worker_threads')
const { version, due } = workerData

function watch() {
  let rung = 0
  for (;;) {
    const current = Atomics.load(version, 0)
    const at = due[0]
    if (at === -1) return
    if (current === rung || at === Infinity) {
      Atomics.wait(version, 0, current)
      continue
    }
    const left = at - performance.now()
    if (left > 0 && Atomics.wait(version, 0, current, left) !== 'timed-out') continue
    rung = current
    parentPort.postMessage(current)
  }
}

parentPort.on('message', (question) => {
  if (question === 'time') return parentPort.postMessage(performance.now())
  watch()
  parentPort.close()
})
`
