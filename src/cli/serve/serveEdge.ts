import { homedir } from 'node:os'
import { isAbsolute, join, resolve } from 'node:path'
import { createEdge, type Edge } from '../../serve/edge/create.ts'
import type { ServiceEvent } from '../../serve/edge/types.ts'
import { deciderOptions, reachOptions, type EdgeFlags } from '../commands/edge.ts'
import type { Io } from '../io.ts'
import { printLine } from '../io.ts'
import { figuresText } from '../commands/oracleTable.ts'
import { figuresJson } from '../json/request.ts'
import type { ServingJson } from '../json/serve.ts'
import { EXIT_INTERRUPTED } from '../program.ts'
import { sideOptions } from '../split/side.ts'
import { apiAccess } from './access.ts'
import { reporterOf } from './reporter.ts'
import { untilAborted } from './wait.ts'

/** `edge --listen`: serves the API until it is told to stop, then drains. */
export async function serveEdge(flags: EdgeFlags, io: Io): Promise<number> {
  const { maxInFlight, maxQueued, recoverySeconds, outageSeconds, deadlineSeconds, drainSeconds } = flags
  // Events come before there is an edge that a panel could show.
  const early: ServiceEvent[] = []
  let show = (event: ServiceEvent): void => void early.push(event)
  const edge = await createEdge({
    ...sideOptions(flags, io),
    ...reachOptions(flags, io),
    ...deciderOptions(flags),
    listen: apiAccess(flags, io),
    logFolder: flags.log === undefined ? stateFolder(io) : resolve(flags.log),
    limits: { maxInFlight, maxQueued, recoverySeconds, outageSeconds, totalSeconds: deadlineSeconds },
    onEvent: (event) => show(event),
    onDefect: (error, id) => io.stderr.write(`a defect in ${id}: ${String((error as Error).stack)}\n`),
  })
  announce(edge, flags, io)
  show = reporterOf(flags, edge, io)
  for (const event of early) show(event)
  await untilAborted(io.signal)
  const { givenUp } = await edge.close({ drainSeconds })
  if (givenUp > 0) io.stderr.write(`${givenUp} requests were given up after ${drainSeconds} s\n`)
  return EXIT_INTERRUPTED
}

function announce(edge: Edge, flags: EdgeFlags, io: Io): void {
  const { model, precision, decider, problem } = edge
  const [url, log, { host, port }] = [edge.url!, edge.logFolder!, edge.address!]
  const { id, fingerprint } = model
  if (flags.json === true) {
    const line: ServingJson = {
      serving: {
        url,
        host,
        port,
        model: id,
        fingerprint,
        precision,
        decider,
        figures: problem === null ? null : figuresJson(problem.pair),
        log,
      },
    }
    io.stdout.write(`${JSON.stringify(line)}\n`)
    return
  }
  const figures = problem === null ? '' : ` on ${figuresText(problem.pair)}`
  printLine(
    io,
    `${id} (${precision}) answers on ${url}/v1, decided by ${decider}${figures}; Ctrl-C ends it.\n` +
      `log: ${log}\n` +
      `try: curl ${url}/v1/chat/completions -H 'content-type: application/json' ` +
      `-d '{"model":"${id}","messages":[{"role":"user","content":"Once there was"}],"max_tokens":64}'`,
  )
}

/** The user's folder for state, by the customs of the system (XDG Base Directory Specification). */
function stateFolder({ env }: Io): string {
  const { XDG_STATE_HOME: xdg } = env
  const base = xdg !== undefined && isAbsolute(xdg) ? xdg : join(homedir(), '.local', 'state')
  return join(base, 'edgewise', 'edge')
}
