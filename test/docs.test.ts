import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { COMMANDS } from '../src/cli/registry.ts'
import { commandsOf, linesOf, missing, type Commands } from './cli/commandLines.ts'

const root = resolve(import.meta.dirname, '..')
const read = (path: string): string => readFileSync(join(root, path), 'utf8')
const list = (folder: string): string[] =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((file) => join(folder, file))

/** Every page of the repository that a person reads. */
const PAGES = [
  ...readdirSync(root).filter((file) => file.endsWith('.md')),
  ...['docs', 'deploy', 'examples', 'traces', 'models', 'runs', 'exports'].flatMap((folder) =>
    list(folder).filter((file) => file.endsWith('.md') && !/^(runs|exports)\/.+\//.test(file)),
  ),
]
const scripts = Object.keys((JSON.parse(read('package.json')) as { scripts: object }).scripts)
const tests = list('test').filter((file) => file.endsWith('.test.ts'))
const examples = new Map(list('examples').map((file) => [file, read(file)]))

/** GitHub's anchors of a page's headings. */
function anchorsOf(text: string): Set<string> {
  const headings = [...text.replace(/```[\s\S]*?```/g, '').matchAll(/^#+ (.*)$/gm)].map(([, title]) => title)
  return new Set(
    headings.map((title) =>
      title
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  )
}

/** Relative links of a page that lead nowhere. */
function brokenLinks(page: string, text: string): string[] {
  const links = [...text.replace(/```[\s\S]*?```/g, '').matchAll(/\]\(([^)\s]+)\)/g)].map(
    ([, target]) => target,
  )
  return links.filter((target) => {
    if (/^[a-z]+:/.test(target)) return false
    const [path, anchor] = target.split('#')
    const file = path === '' ? page : join(dirname(page), path)
    if (!existsSync(join(root, file))) return true
    return anchor !== undefined && !anchorsOf(file === page ? text : read(file)).has(anchor)
  })
}

/** Files of the repository that a page names in inline code and that are not there. */
function absentFiles(text: string): string[] {
  const inline = [...text.replace(/```[\s\S]*?```/g, '').matchAll(/`([^`\n]+)`/g)].map(([, code]) => code)
  return inline.filter(
    (code) =>
      /^(src|test|docs|bench|envs|scripts|configs|traces|deploy|examples)\/[\w./-]+\.\w+$/.test(code) &&
      !existsSync(join(root, code)),
  )
}

/** Every identifier of the code. */
const identifiers = new Set(
  ['src', 'envs', 'test', 'bench'].flatMap((folder) =>
    list(folder)
      .filter((file) => file.endsWith('.ts'))
      .flatMap((file) => read(file).match(/[A-Za-z_]\w+/g) ?? []),
  ),
)

/** Names in camelCase and PascalCase that a page has in inline code and that no code has. */
function absentNames(text: string): string[] {
  const inline = [...text.replace(/```[\s\S]*?```/g, '').matchAll(/`([A-Za-z]+)`/g)].map(([, code]) => code)
  return inline.filter((code) => /^[A-Za-z][a-z]+[A-Z]/.test(code) && !identifiers.has(code))
}

/** Scripts of package.json, and tests, that a page tells a reader to run and that are not there. */
function absentScripts(text: string): string[] {
  const named = [...text.matchAll(/npm run ([a-z][a-z0-9:]*)/g)].map(([, name]) => name)
  const filters = [...text.matchAll(/npm test -- ((?:test\/[\w./-]+ ?)+)/g)].flatMap(([, paths]) =>
    paths.trim().split(' '),
  )
  return [
    ...named.filter((name) => !scripts.includes(name)),
    ...filters.filter((path) => !tests.some((file) => file.includes(path))),
  ]
}

/** Blocks of JavaScript on a page that no example runs. */
function untriedCode(text: string): string[] {
  const blocks = [...text.matchAll(/```js\n([\s\S]*?)```/g)].map(([, block]) => block.trim())
  return blocks.filter((block) => ![...examples.values()].some((example) => example.includes(block)))
}

let commands: Commands
beforeAll(async () => {
  commands = await commandsOf(COMMANDS)
})

describe.each(PAGES)('%s', (page) => {
  const text = read(page)

  it('links to what is there', () => {
    expect(brokenLinks(page, text)).toEqual([])
  })

  it('names files, scripts, commands and options that are there', () => {
    expect(absentFiles(text)).toEqual([])
    // The changelog names what was renamed, deploy what systemd calls its settings.
    if (!/^(CHANGELOG|deploy)/.test(page)) expect(absentNames(text)).toEqual([])
    expect(absentScripts(text)).toEqual([])
    expect(linesOf(text).flatMap((line) => missing(line, commands))).toEqual([])
  })

  it('shows only code that an example runs', () => {
    expect(untriedCode(text)).toEqual([])
  })
})

describe('the front door', () => {
  it('is a README that one reads in a few minutes', () => {
    expect(read('README.md').split('\n').length).toBeLessThan(150)
  })

  it('has every page of docs in its index', () => {
    const index = read('docs/README.md')
    const pages = readdirSync(join(root, 'docs')).filter(
      (file) => file.endsWith('.md') && file !== 'README.md',
    )
    expect(pages.filter((file) => !index.includes(`](${file})`))).toEqual([])
  })

  it('shows what quickstart printed as docs/quickstart.md has it, to the digit', () => {
    const recorded = read('docs/quickstart.md')
    const [, block] = /```text\n([\s\S]*?)```/.exec(read('README.md'))!
    expect(block.split('\n').filter((line) => !recorded.includes(line))).toEqual([])
  })
})

describe('the checks themselves', () => {
  it('find what is not there', () => {
    expect(brokenLinks('docs/api.md', '# A b\n[x](b.md) [y](#a-b) [z](#c) [w](https://a.b/c)')).toEqual([
      'b.md',
      '#c',
    ])
    expect(absentFiles('`src/plan/plan.ts` and `src/plan/plam.ts`')).toEqual(['src/plan/plam.ts'])
    const absent = ['optimal', 'Plam'].join('')
    expect(absentNames(`\`optimalPlan\`, \`optimal\`, \`${absent}\``)).toEqual([absent])
    expect(absentScripts('npm run quickstart, npm run quick, npm test -- test/plan test/plam')).toEqual([
      'quick',
      'test/plam',
    ])
    expect(untriedCode('```js\nnot.tried()\n```')).toEqual(['not.tried()'])
  })

  it('find commands in blocks and in words, and what they lack', () => {
    const page =
      'Say `edgewise oracle --up-mbps 3` or:\n\n```sh\nls && edgewise trace shw x\n$ edgewise nope # --json\n```\n'
    const lines = linesOf(page)
    expect(lines).toEqual(['edgewise trace shw x', 'edgewise nope', 'edgewise oracle --up-mbps 3'])
    expect(lines.flatMap((line) => missing(line, commands))).toEqual(['trace shw', 'nope'])
    expect(missing('edgewise oracle --up-mbsp=3 --json', commands)).toEqual(['oracle --up-mbsp'])
  })
})
