import { isatty } from 'node:tty'
import { systemClock } from '../core/clock.ts'
import { fileProblem } from '../core/fileErrors.ts'
import type { CliEntry } from './command.ts'
import type { Io } from './io.ts'
import { EXIT_INTERRUPTED, reportError, runCli } from './program.ts'
import { packageVersion } from '../core/packageRoot.ts'

/** Seconds that clean-up may take, after Ctrl-C or a defect, before the process ends anyway; a command may ask for more. */
const CLEANUP_SECONDS = 5

let patienceSeconds = CLEANUP_SECONDS
const cleanups: (() => void | Promise<void>)[] = []
const abort = new AbortController()
/** Exit code of a process that was told to end; null: the command's own. */
let endCode: number | null = null

async function cleanUp(): Promise<void> {
  for (let cleanup = cleanups.pop(); cleanup !== undefined; cleanup = cleanups.pop()) {
    try {
      await cleanup()
    } catch (error) {
      process.stderr.write(`clean-up failed: ${String(error)}\n`)
    }
  }
}

function interrupt(): void {
  if (abort.signal.aborted) process.exit(EXIT_INTERRUPTED)
  endWith(EXIT_INTERRUPTED)
}

/** Tells the command to stop, cleans up, and ends the process. */
function endWith(code: number): void {
  endCode = code
  abort.abort()
  setTimeout(() => process.exit(code), 1000 * patienceSeconds).unref()
  // The command hears the signal first; whatever it leaves is cleaned up here.
  setImmediate(() => void cleanUp().then(() => process.exit(code)))
}

function makeIo(argv: readonly string[]): Io {
  const noColour = (process.env.NO_COLOR ?? '') !== '' || argv.includes('--no-color')
  return {
    stdout: process.stdout,
    stderr: process.stderr,
    isTerminal: isatty(1),
    columns: () => process.stdout.columns ?? 80,
    isProgressTerminal: isatty(2),
    colour: isatty(1) && !noColour,
    input: () => process.stdin as AsyncIterable<Uint8Array>,
    clock: systemClock,
    env: process.env,
    signal: abort.signal,
    onExit: (cleanup, withinSeconds = CLEANUP_SECONDS) => {
      cleanups.push(cleanup)
      patienceSeconds = Math.max(patienceSeconds, withinSeconds)
    },
  }
}

/**
 * Runs this process's command line with the given commands, and ends the process. Ctrl-C (SIGINT), a service manager's
 * SIGTERM and a closed terminal (SIGHUP) mean the same: the command drains, then all is cleaned up; a second one ends at
 * once. An error that nobody caught is reported, and ends the process in the same way.
 */
export async function runProcess(entries: readonly CliEntry[]): Promise<never> {
  process.on('SIGINT', interrupt)
  process.on('SIGTERM', interrupt)
  // The terminal is gone: what runs drains, as after Ctrl-C. Node ends at once otherwise, under nohup too.
  process.on('SIGHUP', interrupt)
  const argv = process.argv.slice(2)
  const io = makeIo(argv)
  // A reader that has seen enough (`| head`) is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    process.exit(error.code === 'EPIPE' ? 0 : reportError(fileProblem(error, 'standard output') ?? error, io))
  })
  process.on('uncaughtException', (error) => endWith(reportError(error, io)))
  const code = await runCli(argv, io, entries, packageVersion())
  await cleanUp()
  // Errors of earlier writes come before this one is complete.
  await new Promise((resolve) => process.stdout.write('', resolve))
  process.exit(endCode ?? code)
}
