// Holds ts-mls clients for the tests: JSON lines in, JSON lines out, no network. Bytes travel as hexadecimal text.
//
//   node peer.mjs FOLDER     FOLDER holds node_modules with ts-mls
//
// A request is {"op": …, …}; the answer is {"value": …}, or {"error": [name, message]} when the library refused.
// Nothing here judges a message: what the library does with it is the answer. Where the library is known to stray from
// the RFC, and everything behind that would go unseen, the stray bytes are mended here, unless a client is `unmended`.

import { createRequire } from "node:module"
import { createInterface } from "node:readline"
import { join as joinPath, resolve } from "node:path"
import { pathToFileURL } from "node:url"

const require = createRequire(joinPath(resolve(process.argv[2]), "node_modules", "index.js"))
const load = (name) => import(pathToFileURL(require.resolve(name)).href)
const mls = await load("ts-mls")
const { makeKeyPackageRef } = await load("ts-mls/keyPackage.js")
const { decodeRatchetTree, ratchetTreeEncoder } = await load("ts-mls/ratchetTree.js")
const { createGroupInfo } = await load("ts-mls/createCommit.js")
const { encode } = await load("ts-mls/codec/tlsEncoder.js")
const { decodeVarLenData, varLenDataEncoder } = await load("ts-mls/codec/variableLength.js")
const curves = await load("@noble/curves/nist.js")

const hex = (bytes) => Buffer.from(bytes).toString("hex")
const bytes = (text) => new Uint8Array(Buffer.from(text, "hex"))
const DAY = 86_400

const clients = new Map()

// Everybody lives under one clock, which the tests set.
let now = 0
Date.now = () => now * 1000

const nameOfSuite = (id) => Object.keys(mls.ciphersuites).find((name) => mls.ciphersuites[name] === id)

function decoded(text) {
  const data = bytes(text)
  const result = mls.decodeMlsMessage(data, 0)
  if (result === undefined || result[1] !== data.length) throw new Error("the message was not decoded to its end")
  return result[0]
}

function decodedTree(text) {
  if (text === undefined || text === null) return undefined
  const result = decodeRatchetTree(bytes(text), 0)
  if (result === undefined) throw new Error("the tree was not decoded")
  return result[0]
}

// RFC 9420 §5.1.1 writes ECDSA keys as uncompressed points; the library's own generator compresses them.
async function signatureKeys(impl, algorithm, asGenerated) {
  const keys = await impl.signature.keygen()
  const curve = curves[algorithm.toLowerCase()]
  if (curve === undefined || asGenerated) return keys
  return { ...keys, publicKey: curve.Point.fromBytes(keys.publicKey).toBytes(false) }
}

// RFC 9420 §12.4.3.2: the extension holds a vector; the library takes its data for the bare key.
async function groupInfoOf(client, inside) {
  const { state, impl } = client
  const { publicKey } = await impl.hpke.deriveKeyPair(state.keySchedule.externalSecret)
  const externalPub = encode(varLenDataEncoder)(await impl.hpke.exportPublicKey(publicKey))
  const extensions = [{ extensionType: "external_pub", extensionData: externalPub }]
  if (inside) extensions.push({ extensionType: "ratchet_tree", extensionData: encode(ratchetTreeEncoder)(state.ratchetTree) })
  return createGroupInfo(state.groupContext, state.confirmationTag, state, extensions, impl)
}

function readingExternalPub(impl, keyLength) {
  const importPublicKey = (key) => {
    return impl.hpke.importPublicKey(key.length === keyLength ? key : decodeVarLenData(key, 0)[0])
  }
  return { ...impl, hpke: { ...impl.hpke, importPublicKey } }
}

const wrapped = (wireformat, field, value) => hex(mls.encodeMlsMessage({ version: "mls10", wireformat, [field]: value }))
const encoded = (message) => hex(mls.encodeMlsMessage(message))
const encodedTree = (state) => hex(encode(ratchetTreeEncoder)(state.ratchetTree))

// A client keeps its signature key, its key packages, its pre-shared keys, and one group.
class Client {
  constructor(name, impl, keys, unmended) {
    Object.assign(this, { name, impl, keys, unmended, packages: [], psks: {}, state: undefined, pending: undefined })
  }

  async package() {
    const credential = { credentialType: "basic", identity: new TextEncoder().encode(this.name) }
    const lifetime = { notBefore: BigInt(now - 3600), notAfter: BigInt(now + 28 * DAY) }
    const capabilities = mls.defaultCapabilities()
    return mls.generateKeyPackageWithKey(credential, capabilities, lifetime, [], this.keys, this.impl)
  }

  // Older states stay within the library's own record of past epochs.
  psk() {
    return mls.makePskIndex(this.state, this.psks)
  }

  async packageOf(welcome) {
    for (const kept of this.packages) {
      const reference = hex(await makeKeyPackageRef(kept.publicPackage, this.impl.hash))
      if (welcome.secrets.some((each) => hex(each.newMember) === reference)) return kept
    }
    throw new Error("the Welcome is for none of this client's key packages")
  }
}

function proposalOf(client, order) {
  switch (order.kind) {
    case "add":
      return { proposalType: "add", add: { keyPackage: decoded(order.key_package).keyPackage } }
    case "remove":
      return { proposalType: "remove", remove: { removed: order.leaf } }
    case "psk": {
      const pskNonce = client.impl.rng.randomBytes(client.impl.kdf.size)
      const preSharedKeyId = { psktype: "external", pskId: bytes(order.id), pskNonce }
      return { proposalType: "psk", psk: { preSharedKeyId } }
    }
    case "group_context_extensions": {
      const extensions = order.extensions.map(([extensionType, data]) => ({ extensionType, extensionData: bytes(data) }))
      return { proposalType: "group_context_extensions", groupContextExtensions: { extensions } }
    }
    default:
      throw new Error(`unknown proposal ${order.kind}`)
  }
}

const operations = {
  async clock({ seconds }) {
    now = seconds
  },

  async client({ name, suite, unmended }) {
    const chosen = mls.getCiphersuiteFromName(nameOfSuite(suite))
    const impl = await mls.getCiphersuiteImpl(chosen)
    clients.set(name, new Client(name, impl, await signatureKeys(impl, chosen.signature, unmended), unmended))
  },

  async psk({ name, id, secret }) {
    clients.get(name).psks[mls.bytesToBase64(bytes(id))] = bytes(secret)
  },

  async key_package({ name }) {
    const client = clients.get(name)
    const kept = await client.package()
    client.packages.push(kept)
    return wrapped("mls_key_package", "keyPackage", kept.publicPackage)
  },

  async create({ name, group_id: groupId }) {
    const client = clients.get(name)
    const own = await client.package()
    client.state = await mls.createGroup(bytes(groupId), own.publicPackage, own.privatePackage, [], client.impl)
  },

  async join({ name, welcome, tree }) {
    const client = clients.get(name)
    const body = decoded(welcome).welcome
    const own = await client.packageOf(body)
    const ratchetTree = decodedTree(tree)
    client.state = await mls.joinGroup(
      body, own.publicPackage, own.privatePackage, client.psk(), client.impl, ratchetTree, client.state,
    )
  },

  // The commit takes all proposals that wait, and those given; it is merged by an operation of its own.
  async commit({ name, proposals, inside, open }) {
    const client = clients.get(name)
    const options = {
      wireAsPublicMessage: open,
      extraProposals: proposals.map((order) => proposalOf(client, order)),
      ratchetTreeExtension: inside,
    }
    const context = { state: client.state, cipherSuite: client.impl, pskIndex: client.psk() }
    const made = await mls.createCommit(context, options)
    client.pending = made.newState
    return {
      message: encoded(made.commit),
      welcome: made.welcome === undefined ? null : wrapped("mls_welcome", "welcome", made.welcome),
      tree: inside || made.welcome === undefined ? null : encodedTree(made.newState),
    }
  },

  async merge({ name }) {
    const client = clients.get(name)
    client.state = client.pending
    client.pending = undefined
  },

  async propose({ name, proposal, open }) {
    const client = clients.get(name)
    const made = await mls.createProposal(client.state, open, proposalOf(client, proposal), client.impl)
    client.state = made.newState
    return encoded(made.message)
  },

  async encrypt({ name, data, authenticated_data: authenticatedData }) {
    const client = clients.get(name)
    const made = await mls.createApplicationMessage(
      client.state, bytes(data), client.impl, bytes(authenticatedData),
    )
    client.state = made.newState
    return wrapped("mls_private_message", "privateMessage", made.privateMessage)
  },

  async receive({ name, message }) {
    const client = clients.get(name)
    const body = decoded(message)
    const isPublic = body.wireformat === "mls_public_message"
    const result = isPublic
      ? await mls.processPublicMessage(client.state, body.publicMessage, client.psk(), client.impl)
      : await mls.processPrivateMessage(client.state, body.privateMessage, client.psk(), client.impl)
    client.state = result.newState
    return result.kind === "applicationMessage" ? hex(result.message) : null
  },

  async group_info({ name, inside }) {
    const client = clients.get(name)
    const asLibraryDoes = () => mls.createGroupInfoWithExternalPubAndRatchetTree(client.state, [], client.impl)
    const info = await (client.unmended ? asLibraryDoes() : groupInfoOf(client, inside))
    return {
      message: wrapped("mls_group_info", "groupInfo", info),
      tree: inside ? null : encodedTree(client.state),
    }
  },

  async enter({ name, group_info: info, tree, resync }) {
    const client = clients.get(name)
    const own = await client.package()
    const impl = client.unmended ? client.impl : readingExternalPub(client.impl, own.publicPackage.initKey.length)
    const made = await mls.joinGroupExternal(
      decoded(info).groupInfo, own.publicPackage, own.privatePackage, resync, impl, decodedTree(tree),
    )
    client.pending = made.newState
    return wrapped("mls_public_message", "publicMessage", made.publicMessage)
  },

  async view({ name }) {
    const { state, impl } = clients.get(name)
    const leaves = state.ratchetTree.map((node, index) => [node, index]).filter(([node]) => node?.nodeType === "leaf")
    const label = "interop"
    const exported = await mls.mlsExporter(state.keySchedule.exporterSecret, label, bytes("c0"), 32, impl)
    return {
      epoch: Number(state.groupContext.epoch),
      tree_hash: hex(state.groupContext.treeHash),
      authenticator: hex(state.keySchedule.epochAuthenticator),
      exported: hex(exported),
      members: leaves.map(([node, index]) => [index / 2, hex(node.leaf.credential.identity)]),
      is_active: state.groupActiveState.kind === "active",
    }
  },
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer
  try {
    const request = JSON.parse(line)
    answer = { value: (await operations[request.op](request)) ?? null }
  } catch (error) {
    answer = { error: [error?.constructor?.name ?? "Error", String(error?.message ?? error)] }
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}
