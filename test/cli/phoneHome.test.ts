import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, it } from 'vitest'
import { listeningJsonSchema } from '../../src/cli/json/split.ts'
import { writeSmallTraining } from './smallTraining.ts'
import { at, model, NEW, PROMPT, removeWorld } from './splitWorld.ts'

afterAll(removeWorld)

const cli = join(resolve(import.meta.dirname, '../..'), 'dist', 'cli.js')
const home = at('home')
mkdirSync(home)

/** Where strace may watch a process, its calls to the network are seen, too; the cache folder is looked at everywhere. */
const canWatch = spawnSync('strace', ['-o', '/dev/null', process.execPath, '--version']).status === 0

interface Watched {
  readonly child: ChildProcess
  readonly text: { out: string; err: string }
  readonly closed: Promise<number>
}

/** A process of the built program that has a home of its own and no say of its user about telemetry. */
function start(name: string, ...argv: string[]): Watched {
  const env = { ...process.env, HOME: home, XDG_CACHE_HOME: join(home, 'cache') }
  delete (env as NodeJS.ProcessEnv).ORT_DISABLE_TELEMETRY
  const program = [process.execPath, cli, ...argv]
  const watched = ['strace', '-f', '--seccomp-bpf', '-e', 'trace=%network', '-o', at(name), ...program]
  const [command, ...rest] = canWatch ? watched : program
  const child = spawn(command, rest, { cwd: home, env })
  const text = { out: '', err: '' }
  child.stdout.on('data', (chunk) => (text.out += String(chunk)))
  child.stderr.on('data', (chunk) => (text.err += String(chunk)))
  return { child, text, closed: once(child, 'close').then(([code]) => code as number) }
}

/** Calls that open a connection or send something, a line each. */
function calls(name: string): string[] {
  const lines = readFileSync(at(name), 'utf8').split('\n')
  return lines.filter((line) => /\b(connect|sendto|sendmsg|sendmmsg)\(/.test(line))
}

/** Of a name service, or of an address outside this machine. */
const isOutside = (call: string): boolean =>
  /sin_addr=inet_addr\("(?!127\.)|inet_pton\(AF_INET6, "(?!::1"|::ffff:127\.)|nscd/.test(call)

async function addressOf(cloud: Watched): Promise<string> {
  const ended = cloud.closed.then(() => true)
  while (!cloud.text.out.includes('\n') && !(await Promise.race([ended, sleep(10)])));
  const { listening } = listeningJsonSchema.parse(JSON.parse(cloud.text.out.split('\n')[0]))
  return `127.0.0.1:${listening.port}`
}

/** The process under strace: strace itself passes no signal on. */
function stop({ child, closed }: Watched): Promise<number> {
  const pid = String(child.pid)
  const of = canWatch ? readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim() : pid
  process.kill(Number(of), 'SIGTERM')
  return closed
}

describe.skipIf(!existsSync(cli))(
  'the built program (skipped where dist is not built: `npm run build`)',
  () => {
    it('looks up no name, calls no machine that was not named and leaves nothing in the cache folder but graphs', async () => {
      writeSmallTraining(at())
      const cloud = start('cloud', 'cloud', '--model', model, '--listen', '127.0.0.1:0', '--json')
      const quick = ['--quick', '--budget-seconds', '1', '--out', at('tiny.profile.json')]
      const others = {
        profile: start('profile', 'profile', '--model', 'tiny', ...quick),
        train: start('train', 'train', at('small.train.yaml'), '--updates', '1', '--out', at('run')),
      }
      const edge = start(
        'edge',
        ...['edge', '--model', model, '--plan', 'cut:1', '--cloud', await addressOf(cloud)],
        ...[...PROMPT, ...NEW],
      )
      for (const { closed, text } of [edge, ...Object.values(others)]) expect(await closed, text.err).toBe(0)
      expect(await stop(cloud), cloud.text.err).toBe(130)
      if (canWatch) {
        expect(calls('edge').some((call) => call.includes('inet_addr("127.0.0.1")'))).toBe(true)
        for (const name of ['cloud', 'edge', ...Object.keys(others)])
          expect(calls(name).filter(isOutside), name).toEqual([])
      }
      expect(readdirSync(home)).toEqual(['cache'])
      expect(readdirSync(join(home, 'cache'))).toEqual(['edgewise'])
    })
  },
)
