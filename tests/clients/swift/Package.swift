// swift-tools-version:6.0
import PackageDescription

let package = Package(
    name: "verify",
    platforms: [.macOS(.v10_15)],
    dependencies: [.package(name: "PhoneVerifyClient", path: "../client")],
    targets: [
        .executableTarget(
            name: "verify",
            dependencies: [.product(name: "PhoneVerifyClient", package: "PhoneVerifyClient")],
            path: ".",
            sources: ["main.swift"]
        )
    ]
)
