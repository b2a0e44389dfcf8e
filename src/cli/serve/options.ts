import type { Command } from 'commander'
import { DEFAULT_LIMITS } from '../../serve/edge/types.ts'
import { integerOption, numberOption } from '../options.ts'

/** Flags of `edge --listen` beside those of generating text. */
export interface ServeFlags {
  readonly listen?: string
  readonly apiKeys?: string
  readonly apiTls?: string
  readonly trust?: readonly string[]
  readonly log?: string
  readonly maxQueued: number
  readonly deadlineSeconds: number
  readonly recoverySeconds: number
  readonly outageSeconds: number
  readonly drainSeconds: number
  readonly watch?: boolean
}

const seconds = numberOption({ min: 0, max: 86_400, exclusiveMin: true })

/** Declares the flags of serving over HTTP. */
export function addServeOptions(command: Command): void {
  const { maxQueued, totalSeconds, recoverySeconds, outageSeconds } = DEFAULT_LIMITS
  command
    .option('--listen <host:port>', 'serve an OpenAI-compatible API there; port 0 is any free one')
    .option('--api-keys <file>', 'who may use the API (`edgewise keys api`); without: anyone on this machine')
    .option(
      '--api-tls <folder>',
      'certificate of the API (`edgewise keys device`): HTTPS, also off this machine',
    )
    .option('--log <folder>', 'where decisions and requests are written (default: the user state folder)')
    .option(
      '--max-queued <n>',
      'requests that may wait; more are answered with 429',
      integerOption({ min: 0 }),
      maxQueued,
    )
    .option(
      '--deadline-seconds <s>',
      'from the arrival of a request to its last token',
      seconds,
      totalSeconds,
    )
    .option(
      '--recovery-seconds <s>',
      'a request that cannot do without the cloud waits so long',
      seconds,
      recoverySeconds,
    )
    .option(
      '--outage-seconds <s>',
      'a cloud that is silent for so long is away: the edge goes on alone',
      // Heartbeats come every second.
      numberOption({ min: 1.5, max: 86_400 }),
      outageSeconds,
    )
    .option('--drain-seconds <s>', 'how long running requests may take after a signal to stop', seconds, 30)
    .option('--watch', 'show the link, the requests and every transition as they happen')
}
