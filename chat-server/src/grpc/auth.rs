//! Accounts come into being, and sessions begin and end.

use chat_client::Reason;
use chat_client::api;
use chat_client::api::auth_service_client::AuthServiceClient;
use chat_client::api::auth_service_server::AuthService;
use chat_core::password::Password;
use chat_core::{AccountId, AccountStatus, CommandBody, Outcome, Profile, Rejection, Username};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::Services;
use super::passwords::{self, Verdict};
use super::sessions;
use crate::app::Context;
use crate::app::error::Failure;
use crate::app::node::Node;
use crate::app::request;
use crate::app::session::Secret;
use crate::app::throttle::Whose;
use crate::app::token;
use crate::app::{Caller, Write, read};
use crate::clock;
use crate::config::Registration;
use crate::grpc;
use crate::grpc::seen;
use crate::grpc::wire;
use crate::grpc::write;

#[tonic::async_trait]
impl AuthService for Services {
    async fn register(
        &self,
        request: Request<api::RegisterRequest>,
    ) -> Result<Response<api::RegisterResponse>, Status> {
        let from = grpc::context(&request).from;
        self.node.throttle.registration(from)?;
        write(&self.node, request).await
    }

    async fn login(
        &self,
        request: Request<api::LoginRequest>,
    ) -> Result<Response<api::LoginResponse>, Status> {
        let from = grpc::context(&request).from;
        let name = Username::parse_existing(&request.get_ref().username).ok();
        let login = write(&self.node, request);
        passwords::guarded(&self.node, from, name.map(Whose::Name), login).await
    }

    async fn logout(
        &self,
        request: Request<api::LogoutRequest>,
    ) -> Result<Response<api::LogoutResponse>, Status> {
        write(&self.node, request).await
    }

    async fn who_am_i(
        &self,
        request: Request<api::WhoAmIRequest>,
    ) -> Result<Response<api::WhoAmIResponse>, Status> {
        let node = &*self.node;
        let context = grpc::context(&request);
        read(
            node,
            seen(&context, request.get_ref().read_token.as_ref())?,
            &context,
        )
        .await?;
        let caller = Caller::counted(node, &context).await?;
        let found = node
            .state
            .query(|manager, at| Ok((manager.account(caller.account())?, at)));
        let (profile, at) = found.map_err(Failure::from)?;
        let profile = profile.ok_or(Failure::Unauthenticated)?;
        Ok(Response::new(api::WhoAmIResponse {
            account: Some(wire::account(&profile, &*node.presence)),
            session_id: caller.session.id.to_string(),
            expire_time_ms: caller.session.expires_at.as_millis() as i64,
            read_token: token::read_token(at),
        }))
    }

    async fn change_password(
        &self,
        request: Request<api::ChangePasswordRequest>,
    ) -> Result<Response<api::ChangePasswordResponse>, Status> {
        let context = grpc::context(&request);
        let change = write(&self.node, request);
        passwords::guarded(&self.node, context.from, context.claimed(), change).await
    }

    async fn list_sessions(
        &self,
        request: Request<api::ListSessionsRequest>,
    ) -> Result<Response<api::ListSessionsResponse>, Status> {
        sessions::list(&self.node, request).await
    }

    async fn revoke_session(
        &self,
        request: Request<api::RevokeSessionRequest>,
    ) -> Result<Response<api::RevokeSessionResponse>, Status> {
        write(&self.node, request).await
    }
}

impl Write for api::RegisterRequest {
    type Answer = api::RegisterResponse;

    async fn execute(&self, node: &Node, _: &Context) -> Result<Self::Answer, Failure> {
        if *node.registration.borrow() == Registration::Closed {
            return Err(Failure::RegistrationClosed);
        }
        let request = request::request_id(&self.request_id)?;
        let name = request::registered_name(&self.username)?;
        let password = request::new_password("password", &self.password)?;
        // A name that is taken, and not by this request, needs no hash to be refused.
        let id = AccountId::derive(request);
        let holder = node
            .state
            .query(|manager, _| manager.account_by_name(&name))?;
        if holder.is_some_and(|holder| holder.id != id) {
            return Err(Rejection::NameTaken { name }.into());
        }
        let body = CommandBody::CreateAccount {
            skeleton: name.skeleton(),
            password: node.hashing.hash(password).await?,
            name,
        };
        let done = node.propose(request, body).await?;
        let Outcome::AccountCreated { account, name, .. } = &done.outcome else {
            return Err(done.unexpected());
        };
        let profile = active(*account, name);
        Ok(api::RegisterResponse {
            account: Some(wire::account(&profile, &*node.presence)),
            read_token: done.read_token(),
            durability: Some(done.durability),
        })
    }

    async fn pass_on(
        request: Request<Self>,
        leader: Channel,
    ) -> Result<Response<Self::Answer>, Status> {
        AuthServiceClient::new(leader).register(request).await
    }
}

impl Write for api::LoginRequest {
    type Answer = api::LoginResponse;

    async fn execute(&self, node: &Node, context: &Context) -> Result<Self::Answer, Failure> {
        let outcome = log_in(self, node, context).await;
        if matches!(outcome, Err(Failure::BadCredentials)) {
            node.metrics.login_failed();
        }
        outcome
    }

    async fn pass_on(
        request: Request<Self>,
        leader: Channel,
    ) -> Result<Response<Self::Answer>, Status> {
        AuthServiceClient::new(leader).login(request).await
    }
}

async fn log_in(
    login: &api::LoginRequest,
    node: &Node,
    _: &Context,
) -> Result<api::LoginResponse, Failure> {
    let request = request::request_id(&login.request_id)?;
    let name = Username::parse_existing(&login.username)
        .map_err(|error| Failure::invalid(Reason::InvalidUsername, "username", error))?;
    for _ in 0..passwords::ATTEMPTS {
        let profile = node
            .state
            .query(|manager, _| manager.account_by_name(&name))?;
        let account = profile.as_ref().map(|profile| profile.id);
        let verified = passwords::verify(node, account, &login.password).await?;
        let Some(profile) = profile else {
            return Err(Failure::BadCredentials);
        };
        let secret = Secret::draw();
        let body = CommandBody::OpenSession {
            account: profile.id,
            token: secret.hash(),
            verified,
            expires_at: clock::now().saturating_add(node.limits().session_lifetime),
            policy: node.limits().sessions,
        };
        let done = match node.propose(request, body).await {
            // Changed in between: what was typed may be right or wrong by now.
            Err(Failure::Rejected(Rejection::StaleCredential)) => continue,
            done => done?,
        };
        let Outcome::SessionOpened {
            session,
            expires_at,
        } = done.outcome
        else {
            return Err(done.unexpected());
        };
        return Ok(api::LoginResponse {
            account: Some(wire::account(&profile, &*node.presence)),
            session_token: secret.of(profile.id, session).expose(),
            expire_time_ms: expires_at.as_millis() as i64,
            read_token: done.read_token(),
            durability: Some(done.durability),
        });
    }
    Err(Failure::BadCredentials)
}

impl Write for api::LogoutRequest {
    type Answer = api::LogoutResponse;

    async fn execute(&self, node: &Node, context: &Context) -> Result<Self::Answer, Failure> {
        let request = request::request_id(&self.request_id)?;
        let caller = match Caller::of(node, context).await {
            Ok(caller) => caller,
            Err(failure) => {
                let earlier = Caller::earlier(node, context, request)?;
                let Some((Outcome::SessionsClosed { count }, at)) = earlier else {
                    return Err(failure);
                };
                return Ok(api::LogoutResponse {
                    read_token: token::read_token(at),
                    sessions_closed: count,
                });
            }
        };
        let account = caller.account();
        let body = match self.all_sessions {
            true => CommandBody::CloseAllSessions {
                account,
                except: None,
            },
            false => CommandBody::CloseSession {
                account,
                session: caller.session.id,
            },
        };
        let done = node.propose(request, body).await?;
        let Outcome::SessionsClosed { count } = done.outcome else {
            return Err(done.unexpected());
        };
        Ok(api::LogoutResponse {
            read_token: done.read_token(),
            sessions_closed: count,
        })
    }

    async fn pass_on(
        request: Request<Self>,
        leader: Channel,
    ) -> Result<Response<Self::Answer>, Status> {
        AuthServiceClient::new(leader).logout(request).await
    }
}

impl Write for api::ChangePasswordRequest {
    type Answer = api::ChangePasswordResponse;

    async fn execute(&self, node: &Node, context: &Context) -> Result<Self::Answer, Failure> {
        let request = request::request_id(&self.request_id)?;
        let caller = Caller::of(node, context).await?;
        let account = caller.account();
        let new = request::new_password("new_password", &self.new_password)?;
        for _ in 0..passwords::ATTEMPTS {
            let verified =
                match passwords::verify_change(node, account, request, &self.old_password).await? {
                    Verdict::Right(verified) => verified,
                    Verdict::SetByThisRequest(credentials) => {
                        let typed = Password::parse(&self.new_password)
                            .map_err(|_| Failure::BadCredentials)?;
                        if !node.hashing.verify(typed, credentials.hash).await? {
                            return Err(Rejection::RequestIdReused.into());
                        }
                        credentials.version
                    }
                };
            let body = CommandBody::ChangePassword {
                account,
                verified,
                password: node.hashing.hash(new.clone()).await?,
                keep: Some(caller.session.id),
            };
            match node.propose(request, body).await {
                Err(Failure::Rejected(Rejection::StaleCredential)) => {}
                done => {
                    let done = done?;
                    return Ok(api::ChangePasswordResponse {
                        read_token: done.read_token(),
                        durability: Some(done.durability),
                    });
                }
            }
        }
        Err(Failure::BadCredentials)
    }

    async fn pass_on(
        request: Request<Self>,
        leader: Channel,
    ) -> Result<Response<Self::Answer>, Status> {
        AuthServiceClient::new(leader)
            .change_password(request)
            .await
    }
}

fn active(id: AccountId, name: &Username) -> Profile {
    Profile {
        id,
        name: name.clone(),
        status: AccountStatus::Active,
    }
}
