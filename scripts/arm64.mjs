// `npm run test:arm64`: packs an edge for linux-arm64 and runs the pack: as it is where this machine is one, else under
// qemu. What it decides and generates must be what this machine decides and generates. Where something to emulate with
// is missing it says what, and succeeds, unless `--require` is given. `--bundle <folder>` names a policy bundle for
// the model tales instead of training one for some seconds.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { arm64, Missing } from './emulate.mjs'
import { INTERRUPTED, root, runProgram } from './process.mjs'
import { setup } from './setup.mjs'

const MODEL = 'tales'
const PROMPTS = ['Once', 'The little dog', 'One day Una']
const CONDITIONS = [
  {
    link: '50 Mbit/s, 20 ms',
    args: ['--output', '64', '--up-mbps', '50', '--down-mbps', '200', '--rtt-ms', '20'],
  },
  {
    link: '1 Mbit/s, 150 ms',
    args: ['--output', '64', '--up-mbps', '1', '--down-mbps', '4', '--rtt-ms', '150'],
  },
  {
    link: 'outage',
    args: [
      '--output',
      '64',
      '--up-mbps',
      '0',
      '--down-mbps',
      '0',
      '--rtt-ms',
      '0',
      '--since-heartbeat-seconds',
      '60',
    ],
  },
]
/** Emulation is some ten times slower than the device. */
const READY_SECONDS = 300

const { values } = parseArgs({
  options: { require: { type: 'boolean', default: false }, bundle: { type: 'string' } },
})

async function main() {
  const ready = await setup()
  if (ready !== 0) return ready
  let device
  try {
    device = await arm64()
  } catch (error) {
    if (!(error instanceof Missing)) throw error
    process.stderr.write(`arm64: ${values.require ? 'failed' : 'skipped'}: ${error.message}\n`)
    return values.require ? 1 : 0
  }
  const folder = mkdtempSync(join(tmpdir(), 'edgewise-arm64-'))
  try {
    return await compare(device, folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function compare(device, folder) {
  const bundle = values.bundle ?? (await makeBundle(folder))
  const out = join(folder, 'edge-arm64')
  const packing = ['pack', '--model', MODEL, '--bundle', bundle, '--target', 'linux-arm64', '--out', out]
  const pack = JSON.parse(await here([...packing, '--onnxruntime', device.runtime, '--json']))
  say(`packed: ${pack.files} files, ${megabytes(pack.bytes)}, edgewise.mjs ${megabytes(pack.programBytes)}`)
  say(`runs ${device.described}, ONNX Runtime ${pack.onnxruntime}; here: ${process.platform}-${process.arch}`)
  const there = (args, options) =>
    succeed([...device.command, join(out, 'edgewise.mjs'), ...args], { env: device.env, ...options })
  const sides = {
    here,
    there,
    how: device.how,
    bundle,
    packed: join(out, 'bundle'),
    cache: join(folder, 'cache'),
  }
  const checked = JSON.parse(await there(['pack', '--check', out, '--json']))
  const results = [
    is('the pack is whole there', checked.manifestSha256 === pack.manifestSha256),
    await verified(sides),
    ...(await decisions(sides)),
    ...(await generations(sides)),
    ...(await serving(device, out, bundle, folder)),
  ]
  const failed = results.filter((passed) => !passed).length
  say(`${results.length - failed} passed, ${failed} failed`)
  return failed === 0 ? 0 : 1
}

/** A policy for the built-in model on a small device, trained for some seconds: any valid one will do. */
async function makeBundle(folder) {
  const world = join(folder, 'world')
  for (const name of ['configs', 'traces']) cpSync(join(root, name), join(world, name), { recursive: true })
  const scenario = join(world, 'configs', 'quickstart.scenario.yaml')
  const text = readFileSync(scenario, 'utf8').replace(/^model: .*$/m, `model: ${MODEL}`)
  writeFileSync(scenario, text)
  const run = join(folder, 'run')
  await here(['train', join(world, 'configs', 'quickstart.train.yaml'), '--updates', '3', '--out', run])
  await here(['export', run, '--out', join(folder, 'bundle')])
  return join(folder, 'bundle')
}

async function verified({ there, packed }) {
  const { observations, maxAbsError, greedyDisagreements } = JSON.parse(
    await there(['verify', packed, '--json']),
  )
  const text = `${observations} observations, largest difference ${maxAbsError.toExponential(1)}`
  return is(`the policy computes there what was trained: ${text}`, greedyDisagreements === 0)
}

async function decisions({ here, there, how, bundle, packed }) {
  const results = []
  for (const { link, args } of CONDITIONS) {
    for (const engine of ['kernel', 'session']) {
      const rest = [...args, '--engine', engine, '--json']
      const [a, b] = [
        JSON.parse(await here(['decide', bundle, ...rest])),
        JSON.parse(await there(['decide', packed, ...rest])),
      ]
      const { median, p99 } = b.decisionSeconds
      const time = `${milliseconds(median)}, p99 ${milliseconds(p99)} ${how}; ${milliseconds(a.decisionSeconds.median)} here`
      results.push(
        is(
          `one decision at ${link} by ${engine} (${time})`,
          JSON.stringify(a.plan) === JSON.stringify(b.plan),
        ),
      )
    }
  }
  return results
}

async function generations({ here, there, cache }) {
  const results = []
  for (const prompt of PROMPTS) {
    const args = [
      'edge',
      '--model',
      MODEL,
      '--plan',
      'edge',
      '--prompt',
      prompt,
      '--max-new-tokens',
      '60',
      '--json',
    ]
    const a = JSON.parse(await here([...args, '--cache', `${cache}-here`]))
    const b = JSON.parse(await there([...args, '--cache', `${cache}-there`]))
    results.push(sameTokens(`tokens after "${prompt}"`, a.tokens, b.tokens, a.nearTies))
  }
  return results
}

/** A near-tie may fall either way on another machine; without one the tokens are the same. */
function sameTokens(what, a, b, nearTies) {
  const differs = a.findIndex((id, i) => id !== b[i])
  if (differs === -1 && a.length === b.length) return is(`${what}: ${a.length} equal`, true)
  return is(`${what}: they differ at ${differs}, ${nearTies} near-ties in the answer`, nearTies > 0)
}

/** Both machines serve the bundle without a cloud, and are asked the same over HTTP. */
async function serving(device, out, bundle, folder) {
  const serve = (command, env, from, policy) => {
    const args = ['edge', '--model', MODEL, '--bundle', policy, '--cache', join(folder, `serve-${from}`)]
    return served([...command, ...args, '--log', join(folder, `log-${from}`)], env)
  }
  const cli = [process.execPath, join(root, 'dist', 'cli.js')]
  const a = await serve(cli, {}, 'here', bundle)
  const program = [...device.command, join(out, 'edgewise.mjs')]
  const b = await serve(program, device.env, 'there', join(out, 'bundle'))
  const equal = a.texts.map((text, i) =>
    is(
      `served after "${PROMPTS[i]}": ${JSON.stringify(b.texts[i])} (${b.seconds[i].toFixed(1)} s ${device.how})`,
      text === b.texts[i],
    ),
  )
  return [...equal, is('SIGTERM ends it as Ctrl-C does, exit code 130', b.code === INTERRUPTED)]
}

/** Starts a server, asks it for a completion of each prompt, stops it. */
async function served(command, env) {
  const port = await freePort()
  const [program, ...args] = [...command, '--listen', `127.0.0.1:${port}`]
  const child = spawn(program, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += String(chunk)))
  const ended = once(child, 'exit')
  try {
    await untilReady(port, child, () => output)
    const [texts, seconds] = [[], []]
    for (const prompt of PROMPTS) {
      const start = performance.now()
      texts.push(await complete(port, prompt))
      seconds.push((performance.now() - start) / 1000)
    }
    child.kill('SIGTERM')
    const [code] = await ended
    return { texts, seconds, code }
  } finally {
    child.kill('SIGKILL')
  }
}

async function untilReady(port, child, output) {
  const end = performance.now() + 1000 * READY_SECONDS
  while (performance.now() < end && child.exitCode === null && child.signalCode === null) {
    const answer = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => null)
    if (answer?.ok === true) return
    await sleep(100)
  }
  throw new Error(`the server did not get ready:\n${output()}`)
}

async function complete(port, prompt) {
  const body = JSON.stringify({ model: MODEL, prompt, max_tokens: 40, temperature: 0 })
  const headers = { 'content-type': 'application/json' }
  const answer = await fetch(`http://127.0.0.1:${port}/v1/completions`, { method: 'POST', headers, body })
  if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`)
  return (await answer.json()).choices[0].text
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

const here = (args) => succeed([process.execPath, join(root, 'dist', 'cli.js'), ...args])

/** Output of a program that must succeed; warnings of ONNX Runtime about a processor it does not know are not part of it. */
async function succeed([command, ...args], { env = {} } = {}) {
  const { code, output } = await runProgram(command, args, { quiet: true, env: { ...process.env, ...env } })
  if (code !== 0) throw new Error(`exit code ${code}: ${args.join(' ')}\n${output.slice(-2000)}`)
  return output.replace(/^onnxruntime cpuid_info warning.*\n/gm, '')
}

const say = (text) => process.stdout.write(`${text}\n`)
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`
const milliseconds = (seconds) => `${(1000 * seconds).toFixed(2)} ms`

function is(what, passed) {
  say(`${passed ? 'ok  ' : 'FAIL'} ${what}`)
  return passed
}

process.exit(await main())
