import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'

/** Machines that do other things need long for a start. */
const START_SECONDS = 120

/** What a process holds, as the system says (Linux). */
export interface Held {
  readonly rssBytes: number
  /** Open files, sockets, pipes. */
  readonly handles: number
}

/** One `edgewise` process that listens. */
export interface Program {
  readonly port: number
  readonly pid: number
  /** What it said on stderr. */
  readonly said: () => string
  readonly isGone: () => boolean
  signal(name: NodeJS.Signals): void
  /** Its exit code, or the signal that ended it; null where it still runs after so many seconds. */
  exit(seconds: number): Promise<number | string | null>
  /** Null where the system does not say. */
  held(): Held | null
}

/** Starts `command` and resolves with what its first line of JSON says of its port. */
export async function startProgram(command: readonly string[], cwd: string): Promise<Program> {
  const [file, ...args] = command
  const child = spawn(file, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  child.stderr.on('data', (chunk) => (said += String(chunk)))
  let gone: number | string | null = null
  const exited = once(child, 'exit').then(
    ([code, signal]: unknown[]) => (gone = (signal ?? code) as number | string),
  )
  const lines = createInterface({ input: child.stdout })
  const first = await Promise.race([
    once(lines, 'line').then(([line]: unknown[]) => String(line)),
    exited.then(() => null),
    later(START_SECONDS),
  ])
  if (first === null) {
    child.kill('SIGKILL')
    throw new Error(`${command.join(' ')}\ndid not listen\n${said}`)
  }
  const { listening, serving } = JSON.parse(first) as Partial<
    Record<'listening' | 'serving', { port: number }>
  >
  const { port } = (listening ?? serving)!
  return {
    port,
    pid: child.pid!,
    said: () => said,
    isGone: () => gone !== null,
    signal: (name) => void child.kill(name),
    exit: (seconds) => Promise.race([exited, later(seconds)]),
    held: () => heldBy(child),
  }
}

function later(seconds: number): Promise<null> {
  return new Promise((resolve) => setTimeout(() => resolve(null), 1000 * seconds).unref())
}

function heldBy({ pid }: ChildProcess): Held | null {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    const kibibytes = /^VmRSS:\s+(\d+) kB$/m.exec(status)
    if (kibibytes === null) return null
    return { rssBytes: 1024 * Number(kibibytes[1]), handles: readdirSync(`/proc/${pid}/fd`).length }
  } catch {
    return null
  }
}
