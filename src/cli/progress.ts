import { Presets, SingleBar } from 'cli-progress'
import type { Io } from './io.ts'

/** Progress of a long command, drawn on standard error. */
export interface Progress {
  /** `done` of the total; `note` says what is being done now. */
  update(done: number, note?: string): void
  stop(): void
}

/** Seconds between lines where progress cannot be redrawn in place. */
const LINE_INTERVAL_SECONDS = 10

/** A bar on a terminal; elsewhere a line now and then. */
export function startProgress(io: Io, title: string, total: number): Progress {
  return io.isProgressTerminal ? bar(io, title, total) : lines(io, title, total)
}

function bar(io: Io, title: string, total: number): Progress {
  const single = new SingleBar(
    {
      format: `${title} [{bar}] {percentage}% {note}`,
      hideCursor: false,
      stream: process.stderr,
      clearOnComplete: true,
    },
    Presets.shades_grey,
  )
  single.start(total, 0, { note: '' })
  let running = true
  const stop = (): void => {
    if (running) single.stop()
    running = false
  }
  io.onExit(stop)
  return { update: (done, note = '') => single.update(Math.min(done, total), { note }), stop }
}

function lines(io: Io, title: string, total: number): Progress {
  let last = io.clock.nowSeconds()
  return {
    update(done, note = '') {
      const now = io.clock.nowSeconds()
      if (now - last < LINE_INTERVAL_SECONDS) return
      last = now
      const percent = total > 0 ? Math.floor((100 * Math.min(done, total)) / total) : 0
      io.stderr.write(`${title}: ${percent} %${note === '' ? '' : `, ${note}`}\n`)
    },
    stop() {},
  }
}
